/**
 * What can be compared, and its names: a feedback key (`helpfulness`), a measure of the run itself (`run.latency`), or
 * how often a categorical key takes a label (`topic=billing`).
 */
export const RUN_METRICS = ['latency', 'cost', 'total_tokens', 'error_rate'] as const;
export type RunMetric = (typeof RUN_METRICS)[number];

export type MetricRef =
  | { readonly source: 'feedback'; readonly key: string }
  | { readonly source: 'run'; readonly key: RunMetric }
  | { readonly source: 'label'; readonly key: string; readonly label: string };

const RUN_PREFIX = 'run.';

export function metricName(ref: MetricRef): string {
  if (ref.source === 'run') return `${RUN_PREFIX}${ref.key}`;
  return ref.source === 'label' ? `${ref.key}=${ref.label}` : ref.key;
}

/** Undefined for an empty name. A feedback key that looks like one of the other two forms cannot be named. */
export function parseMetric(name: string): MetricRef | undefined {
  if (name.startsWith(RUN_PREFIX)) {
    const key = RUN_METRICS.find((each) => each === name.slice(RUN_PREFIX.length));
    if (key !== undefined) return { source: 'run', key };
  }
  const equals = name.indexOf('=');
  if (equals > 0) return { source: 'label', key: name.slice(0, equals), label: name.slice(equals + 1) };
  return name === '' ? undefined : { source: 'feedback', key: name };
}
