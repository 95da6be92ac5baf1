/** http --compose: the load runs in a container beside the NIC, as the comparison does (measure.ts). */
import type { HttpRun } from '../http/record.js';
import type { Progress } from '../base/progress.js';
import { measureInStack } from './measure.js';
import type { HttpPlan } from './measure-plan.js';

/** @throws UserError, RunError */
export function httpInStack(
  what: Pick<HttpPlan, 'configs' | 'settings'>,
  progress: Progress,
  onRun: (run: HttpRun) => void,
): Promise<HttpRun[]> {
  const { configs, settings } = what;
  const kinds = (settings.capacity ? 1 : 0) + settings.rates.length;
  const wanted = (configs.length + 1) * settings.scenarios.length * kinds * settings.repeat;
  const plan: HttpPlan = { kind: 'http', configs, settings, guests: settings.guests, live: progress.isLive };
  return measureInStack<HttpRun>(plan, wanted, progress, onRun);
}
