// Figures in the text form that Prometheus reads.

/** One family: all samples of one name. */
export interface MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly samples: readonly MetricSample[];
}

export interface MetricSample {
  /** Follows the name: `_bucket`, `_sum`, `_count`, or nothing. */
  readonly suffix: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export const metricsMediaType = 'text/plain; version=0.0.4; charset=utf-8';

/** A family of one figure without labels. */
export function single(family: Omit<MetricFamily, 'samples'>, value: number): MetricFamily {
  return { ...family, samples: [{ suffix: '', labels: {}, value }] };
}

export function printMetrics(families: readonly MetricFamily[]): string {
  return families.map(printFamily).join('');
}

function printFamily({ name, help, type, samples }: MetricFamily): string {
  const lines = samples.map(({ suffix, labels, value }) => `${name}${suffix}${printLabels(labels)} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}

function printLabels(labels: MetricSample['labels']): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escapeLabel(value: string): string {
  return value
    .replaceAll('\\', String.raw`\\`)
    .replaceAll('"', String.raw`\"`)
    .replaceAll('\n', String.raw`\n`);
}
