/** GraphQL types of projects and the payloads of their mutations. */
import { Field, Float, ID, Int, ObjectType } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { Node } from '../graphql/node.resolver.js';
import { DateTimeScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import { UserError } from '../graphql/user-error.js';
import { UsageTotals } from '../runs/usage-totals.types.js';
import type { Project, ProjectStats } from './project.js';

@ObjectType('ProjectStats', {
  simpleResolvers: true,
  description:
    'Counts, rates and durations are over root runs, tokens and money over all model calls. Durations are seconds.',
})
export class ProjectStatsObject extends UsageTotals implements Omit<ProjectStats, 'projectId'> {
  @Field(() => Int, { description: 'Root runs, that is traces.' })
  runCount!: number;

  @Field(() => DateTimeScalar, { nullable: true })
  lastRunStartTime!: string | null;

  @Field(() => Float, { nullable: true, description: 'Failed runs among all, 0 to 1.' })
  errorRate!: number | null;

  @Field(() => Float, {
    nullable: true,
    description: 'Model calls that streamed among those that ended, 0 to 1.',
  })
  streamingRate!: number | null;

  @Field(() => Float, { nullable: true })
  latencyP50!: number | null;

  @Field(() => Float, { nullable: true })
  latencyP99!: number | null;

  @Field(() => Float, { nullable: true, description: 'Over all runs that streamed.' })
  firstTokenP50!: number | null;

  @Field(() => Float, { nullable: true, description: 'Over all runs that streamed.' })
  firstTokenP99!: number | null;
}

@ObjectType('Project', {
  implements: Node,
  simpleResolvers: true,
  description:
    'A named container of traces, made on first use. An experiment is a project with a reference dataset.',
})
export class ProjectObject extends Node {
  @Field(() => String, { description: 'Unique in the workspace.' })
  name!: string;

  @Field(() => String, { nullable: true })
  description!: string | null;

  @Field(() => JsonScalar, { description: 'What SDKs keep with the project, metadata included.' })
  extra!: unknown;

  @Field(() => UuidScalar, { nullable: true })
  referenceDatasetId!: string | null;

  @Field(() => DateTimeScalar)
  startTime!: string;

  @Field(() => DateTimeScalar, { nullable: true })
  endTime!: string | null;

  @Field(() => DateTimeScalar)
  createdAt!: string;

  @Field(() => DateTimeScalar)
  updatedAt!: string;
}

export const { Connection: ProjectConnection, Edge: ProjectEdge } = connectionTypes<Project>(
  () => ProjectObject as never,
  'Project',
);

@ObjectType({ simpleResolvers: true })
export class CreateProjectPayload {
  @Field(() => ProjectObject, { nullable: true })
  project!: Project | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class UpdateProjectPayload {
  @Field(() => ProjectObject, { nullable: true })
  project!: Project | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class DeleteProjectPayload {
  @Field(() => ID, { nullable: true })
  deletedId!: string | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}
