/**
 * Runs to measure with, the same for every run of a benchmark: a seeded generator of model calls as the
 * LangSmith client sends them. `big` is some 5 KB of JSON per run, `small` some 1.2 KB.
 */
import { randomFillSync } from 'node:crypto';
import { stringify as uuidFromBytes } from 'uuid';
import { seeded } from '../../test/support/seeded.js';

export type Size = 'big' | 'small';

const next = seeded(42);
const VOCABULARY = Array.from({ length: 2_000 }, () =>
  Array.from(
    { length: 3 + Math.floor(next() * 7) },
    () => 'abcdefghijklmnopqrstuvwxyz'[Math.floor(next() * 26)],
  ).join(''),
);

function prose(characters: number): string {
  let text = '';
  while (text.length < characters) {
    text += `${VOCABULARY[Math.floor(next() ** 3 * VOCABULARY.length)] ?? ''} `;
  }
  return text.slice(0, characters);
}

let lastMs = 0;
let counter = 0;

/** A version 7 id at `ms`; ids of one millisecond stay in order. */
export function idAt(ms: number): string {
  const bytes = randomFillSync(Buffer.alloc(16));
  counter = ms === lastMs ? counter + 1 : 0;
  lastMs = ms;
  bytes.writeUIntBE(ms, 0, 6);
  bytes.writeUInt16BE(0x7000 | (counter & 0xfff), 6);
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  return uuidFromBytes(bytes);
}

export interface WireRun {
  id: string;
  trace_id: string;
  dotted_order: string;
  session_name: string;
  name: string;
  run_type: string;
  start_time: string;
  end_time: string;
  inputs: object;
  outputs: object;
  extra: { metadata: Record<string, unknown>; runtime: object };
  tags: string[];
}

/** One finished root run of a model call, as `POST /runs/batch` takes it. */
export function wireRun(size: Size, ms = Date.now(), project = 'bench'): WireRun {
  const id = idAt(ms);
  const start = new Date(ms).toISOString().replace('Z', '001Z');
  const [ask, answer] = size === 'big' ? [2_900, 1_400] : [150, 150];
  const [promptTokens, completionTokens] = [Math.floor(ask / 4), Math.floor(answer / 4)];
  return {
    id,
    trace_id: id,
    dotted_order: `${start.replace(/[-:.]/g, '')}${id}`,
    session_name: project,
    name: 'ChatModel',
    run_type: 'llm',
    start_time: start,
    end_time: new Date(ms + 100 + Math.floor(next() * 4_000)).toISOString(),
    inputs: {
      messages: [
        { role: 'system', content: prose(ask / 2) },
        { role: 'user', content: prose(ask / 2) },
      ],
    },
    outputs: {
      content: prose(answer),
      usage_metadata: {
        input_tokens: promptTokens,
        output_tokens: completionTokens,
        total_tokens: promptTokens + completionTokens,
      },
    },
    extra: {
      metadata: {
        thread_id: `t${Math.floor(next() * 500)}`,
        ls_model_name: 'toy-1',
        ls_provider: 'local',
        region: 'eu',
        tier: 'gold',
        user: `u${Math.floor(next() * 1_000)}`,
      },
      runtime: { sdk: 'langsmith-js', runtime: 'node' },
    },
    tags: ['prod', 'bench'],
  };
}
