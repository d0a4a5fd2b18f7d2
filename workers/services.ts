/** What job handlers may use. Built once by the process's entry point. */
import type { DatasetCleanup } from '../src/datasets/dataset-cleanup.js';
import type { ExperimentWorkService } from '../src/experiments/experiment-work.service.js';
import type { HarvestWorkService } from '../src/harvest/harvest-work.service.js';
import type { ScheduleService } from '../src/schedules/schedule.service.js';
import type { UpkeepService } from '../src/upkeep/upkeep.service.js';

export interface WorkerServices {
  readonly upkeep: UpkeepService;
  readonly schedules: ScheduleService;
  readonly experiments: ExperimentWorkService;
  readonly harvests: HarvestWorkService;
  readonly datasetCleanup: DatasetCleanup;
}
