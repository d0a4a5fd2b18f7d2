/** What job handlers may use. Built once by the process's entry point. */
import type { UpkeepService } from '../src/upkeep/upkeep.service.js';

export interface WorkerServices {
  readonly upkeep: UpkeepService;
}
