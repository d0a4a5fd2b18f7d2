/** What job handlers may use. Built once by the process's entry point. */
import type { ScheduleService } from '../src/schedules/schedule.service.js';
import type { UpkeepService } from '../src/upkeep/upkeep.service.js';

export interface WorkerServices {
  readonly upkeep: UpkeepService;
  readonly schedules: ScheduleService;
}
