// Prints comparisons for a person, and the machine that they were taken on.

import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';

import { GiB } from '../src/base/units.ts';
import type { Comparison, Missing } from './claim.ts';
import { runCommand } from './processes.ts';
import { ratiosOf, sumUp } from './rounds.ts';
import type { Summary } from './rounds.ts';

/** One comparison, summed up. */
export interface ReportLine {
  readonly claim: string;
  readonly name: string;
  readonly peer: string;
  readonly unit: string;
  readonly ours: Summary;
  readonly theirs: Summary;
  /** How many times better we were. */
  readonly ratio: Summary;
  readonly goal: number | undefined;
  /** CPU time of the two servers for one unit of work, in microseconds. */
  readonly cost: { readonly ours: Summary; readonly theirs: Summary } | undefined;
}

export function lineOf(claim: string, comparison: Comparison): ReportLine {
  const { name, peer, unit, goal, ours, theirs, cost } = comparison;
  return {
    claim,
    name,
    peer,
    unit,
    goal,
    ours: sumUp(ours),
    theirs: sumUp(theirs),
    ratio: sumUp(ratiosOf(comparison)),
    cost: cost && { ours: sumUp(cost.ours), theirs: sumUp(cost.theirs) },
  };
}

/** A row of a Markdown table. */
export function printLine({ name, unit, ours, theirs, ratio, goal, cost }: ReportLine): string {
  const span = `${ratio.min.toFixed(2)} … ${ratio.max.toFixed(2)}`;
  const costs = cost === undefined ? '' : `${printNumber(cost.ours.median)} / ${printNumber(cost.theirs.median)}`;
  const cells = [
    name,
    `${printNumber(ours.median)} ${unit}`,
    `${printNumber(theirs.median)} ${unit}`,
    `**${ratio.median.toFixed(2)}** (${span})`,
    costs,
    verdictOf(ratio.median, goal),
  ];
  return `| ${cells.join(' | ')} |`;
}

/** The row of what could not be compared. */
export function printMissing({ name, missing }: Missing): string {
  return `| ${name} | not measured: ${missing} | | | | |`;
}

export const tableHead = [
  '| what; beside whom | ours | theirs | times better (least … most of the pairs) | server CPU µs, ours / theirs | goal |',
  '|---|---|---|---|---|---|',
].join('\n');

/** How busy the machine was, with us and with others. */
export function describeLoad(at: 'start' | 'end'): string {
  const loads = loadavg().map((load) => load.toFixed(2));
  return `load average at the ${at} (1, 5, 15 minutes): ${loads.join(' ')}`;
}

/** A few lines about where and on what the figures were taken. */
export function describeMachine(): string {
  const [cpu] = cpus();
  return [
    `${availableParallelism()} cores of ${cpu?.model ?? 'an unknown kind'}, ${(totalmem() / GiB).toFixed(0)} GiB, Linux ${release()}`,
    `Node ${process.versions.node}, ${runCommand('qemu-img', ['--version']).split('\n')[0] ?? ''}`,
    describeLoad('start'),
  ].join('\n');
}

function verdictOf(ratio: number, goal: number | undefined): string {
  if (goal === undefined) return '';
  return `≥ ${goal}: ${ratio >= goal ? 'reached' : 'missed'}`;
}

function printNumber(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
