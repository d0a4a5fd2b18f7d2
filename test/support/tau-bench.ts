/**
 * Conversations of an agent, the 200 of tau-bench (airline, gpt-4o) where they are beside the project, as an application would trace them: a root run per
 * conversation, a model call per assistant turn with the messages so far, a tool call per tool answer, the
 * reward as feedback. Times are not in the data and are made up, the same every time.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Client } from 'langsmith';
import { RunTree } from 'langsmith/run_trees';
import { makeConversations } from './airline-conversations.js';

const FILE = path.resolve('../shared/data/tau-bench/gpt-4o-airline.json');

interface Message {
  role: 'system' | 'user' | 'assistant' | 'tool';
  content: string | null;
  name?: string;
  tool_call_id?: string;
  tool_calls?: { id: string; function: { name: string; arguments: string } }[];
}

export interface Conversation {
  task_id: number;
  trial: number;
  reward: number;
  info: { task: { user_id: string; instruction: string }; user_cost: number };
  traj: Message[];
}

/** What is expected of one run, made from the data and not from any answer of the server. */
export interface ExpectedRun {
  id: string;
  parentId: string | undefined;
  traceId: string;
  name: string;
  runType: 'chain' | 'llm' | 'tool';
  inputs: Record<string, unknown>;
  outputs: Record<string, unknown>;
  error: string | undefined;
  startMs: number;
  endMs: number;
  tags: string[];
  metadata: Record<string, unknown>;
  promptTokens: number | undefined;
  completionTokens: number | undefined;
}

export interface ExpectedTrace {
  conversation: Conversation;
  runs: ExpectedRun[];
  feedback: { runId: string; key: 'reward'; score: number };
}

/** Undefined where the data is not beside the project; the caller prints that it skips. */
export function loadConversations(): Conversation[] | undefined {
  return existsSync(FILE) ? (JSON.parse(readFileSync(FILE, 'utf8')) as Conversation[]) : undefined;
}

/** The data where it is, else conversations in its form. Prints which. */
export function someConversations(): Conversation[] {
  const real = loadConversations();
  const used = real ?? makeConversations();
  const which =
    real === undefined ? 'made-up conversations; tau-bench is not beside the project' : 'tau-bench';
  process.stdout.write(`Conversations: ${used.length}, ${which}.\n`);
  return used;
}

const tokensIn = (value: unknown): number => Math.ceil(JSON.stringify(value).length / 4);

/** Milliseconds a turn takes: longer answers take longer, tools take a fixed while. */
const turnMs = (message: Message): number =>
  400 + (message.content ?? '').length * 3 + (message.tool_calls?.length ?? 0) * 250;

/** Sends one conversation through the client and says what should be stored. */
export async function sendConversation(
  client: Client,
  conversation: Conversation,
  options: { project: string; startMs: number },
): Promise<ExpectedTrace> {
  const { project, startMs } = options;
  const tags = [`task-${conversation.task_id}`, conversation.reward < 0.5 ? 'failed' : 'solved'];
  const metadata = {
    thread_id: `customer-${conversation.info.task.user_id}`,
    task_id: conversation.task_id,
    trial: conversation.trial,
    agent: { model: 'gpt-4o', domain: 'airline' },
  };
  const root = new RunTree({
    name: 'airline-agent',
    run_type: 'chain',
    project_name: project,
    client,
    tags,
    start_time: startMs,
    inputs: { instruction: conversation.info.task.instruction },
    metadata,
  });
  await root.postRun();
  const runs: ExpectedRun[] = [];
  const messages: Message[] = [];
  let nowMs = startMs + 5;

  const child = async (
    config: {
      name: string;
      runType: 'llm' | 'tool';
      inputs: Record<string, unknown>;
      own: Record<string, unknown>;
      tags: string[];
    },
    outputs: Record<string, unknown>,
    error: string | undefined,
    tookMs: number,
  ): Promise<void> => {
    const run = root.createChild({
      name: config.name,
      run_type: config.runType,
      inputs: config.inputs,
      start_time: nowMs,
      tags: config.tags,
      metadata: config.own,
    });
    await run.postRun();
    const endMs = nowMs + tookMs;
    await run.end(outputs, error, endMs);
    await run.patchRun();
    const usage = config.runType === 'llm';
    runs.push({
      id: run.id,
      parentId: root.id,
      traceId: root.id,
      name: config.name,
      runType: config.runType,
      inputs: config.inputs,
      outputs,
      error,
      startMs: nowMs,
      endMs,
      tags: config.tags,
      metadata: { ...metadata, ...config.own },
      promptTokens: usage ? tokensIn(config.inputs['messages']) : undefined,
      completionTokens: usage ? tokensIn(outputs['message']) : undefined,
    });
    nowMs = endMs + 1;
  };

  for (const message of conversation.traj) {
    if (message.role === 'assistant') {
      const inputs = { messages: messages.map((earlier) => ({ ...earlier })) };
      const input_tokens = tokensIn(inputs.messages);
      const output_tokens = tokensIn(message);
      const outputs = {
        message,
        usage_metadata: { input_tokens, output_tokens, total_tokens: input_tokens + output_tokens },
      };
      const own = { ls_model_name: 'gpt-4o', ls_provider: 'openai', turn: messages.length };
      await child(
        { name: 'gpt-4o', runType: 'llm', inputs, own, tags: ['model'] },
        outputs,
        undefined,
        turnMs(message),
      );
    } else if (message.role === 'tool') {
      const call = messages.at(-1)?.tool_calls?.find((candidate) => candidate.id === message.tool_call_id);
      const failed = (message.content ?? '').startsWith('Error');
      const inputs = {
        arguments: JSON.parse(call?.function.arguments ?? '{}') as unknown,
        call_id: message.tool_call_id,
      };
      await child(
        {
          name: message.name ?? 'tool',
          runType: 'tool',
          inputs,
          own: { turn: messages.length },
          tags: ['tool'],
        },
        { content: message.content },
        failed ? (message.content ?? undefined) : undefined,
        120,
      );
    }
    messages.push(message);
  }

  const outputs = { reward: conversation.reward, answer: conversation.traj.at(-1)?.content ?? null };
  await root.end(outputs, undefined, nowMs);
  await root.patchRun();
  // The form most applications are written in; the newer one wants a project id nobody has at hand.
  // eslint-disable-next-line @typescript-eslint/no-deprecated
  await client.createFeedback(root.id, 'reward', {
    score: conversation.reward,
    comment: `task ${conversation.task_id}`,
  });
  runs.unshift({
    id: root.id,
    parentId: undefined,
    traceId: root.id,
    name: 'airline-agent',
    runType: 'chain',
    inputs: { instruction: conversation.info.task.instruction },
    outputs,
    error: undefined,
    startMs,
    endMs: nowMs,
    tags,
    metadata,
    promptTokens: undefined,
    completionTokens: undefined,
  });
  return { conversation, runs, feedback: { runId: root.id, key: 'reward', score: conversation.reward } };
}
