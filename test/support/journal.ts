/**
 * A client that writes down what it sent and what was acknowledged, as the SDKs behave: a batch is repeated
 * until it is acknowledged or the client gives up. Afterwards the journal is held against the database.
 */
import type pg from 'pg';
import { v7 } from 'uuid';

export interface JournalOptions {
  readonly url: () => string;
  readonly apiKey: string;
  readonly project: string;
  /** Share of failed batches that are given up instead of repeated. */
  readonly giveUp: number;
  /** Seeded. */
  readonly random: () => number;
}

interface Sent {
  readonly id: string;
  readonly answer: string;
  posted: boolean;
  patched: boolean;
}

export class JournalClient {
  readonly sent = new Map<string, Sent>();
  readonly #options: JournalOptions;

  constructor(options: JournalOptions) {
    this.#options = options;
  }

  /** Posts batches of runs and patches some of them, until told to stop. */
  async run(stopped: () => boolean): Promise<void> {
    while (!stopped()) {
      const batch = Array.from({ length: 1 + Math.floor(this.#options.random() * 30) }, () => this.#newRun());
      if (!(await this.#deliver({ post: batch.map((entry) => this.#post(entry)), patch: [] }))) continue;
      for (const entry of batch) entry.posted = true;
      const closed = batch.filter(() => this.#options.random() < 0.5);
      if (closed.length === 0) continue;
      if (!(await this.#deliver({ post: [], patch: closed.map((entry) => this.#patch(entry)) }))) continue;
      for (const entry of closed) entry.patched = true;
    }
  }

  #newRun(): Sent {
    const entry = {
      id: v7(),
      answer: `answer ${this.sent.size} ${'x'.repeat(Math.floor(this.#options.random() * 2_000))}`,
      posted: false,
      patched: false,
    };
    this.sent.set(entry.id, entry);
    return entry;
  }

  #post({ id }: Sent): object {
    const time = new Date().toISOString().replace(/[-:.]/g, '').replace('Z', '000Z');
    return {
      id,
      trace_id: id,
      dotted_order: `${time}${id}`,
      name: 'journal',
      run_type: 'chain',
      session_name: this.#options.project,
      start_time: new Date().toISOString(),
      inputs: { id },
    };
  }

  #patch({ id, answer }: Sent): object {
    return { id, trace_id: id, end_time: new Date().toISOString(), outputs: { answer } };
  }

  /** Whether the batch was acknowledged. Repeats it while the server is away, unless it gives up. */
  async #deliver(body: { post: object[]; patch: object[] }): Promise<boolean> {
    for (let attempt = 0; attempt < 400; attempt += 1) {
      const status = await fetch(`${this.#options.url()}/runs/batch`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-api-key': this.#options.apiKey },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(10_000),
      }).then(
        async (response) => {
          await response.arrayBuffer();
          return response.status;
        },
        () => 0,
      );
      if (status === 202) return true;
      if (status !== 0 && status !== 503 && status !== 429) throw new Error(`unexpected status ${status}`);
      if (this.#options.random() < this.#options.giveUp) return false;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error('the server did not come back');
  }
}

/** What does not agree between journals and database: acknowledged but missing or incomplete, stored twice. */
export async function checkJournals(
  pool: pg.Pool,
  journals: readonly JournalClient[],
): Promise<{ acknowledged: number; wrong: string[] }> {
  const wrong: string[] = [];
  let acknowledged = 0;
  for (const journal of journals) {
    const ids = [...journal.sent.keys()];
    const { rows } = await pool.query<{
      id: string;
      status: string;
      inputs: { id: string };
      outputs: { answer: string } | null;
      n: number;
    }>(
      `select id, min(status) as status, (array_agg(inputs))[1] as inputs, (array_agg(outputs))[1] as outputs, count(*)::int as n
       from runs where id = any($1::uuid[]) group by id`,
      [ids],
    );
    const stored = new Map(rows.map((row) => [row.id, row]));
    for (const entry of journal.sent.values()) {
      const row = stored.get(entry.id);
      if (row !== undefined && row.n !== 1) wrong.push(`${entry.id} is stored ${row.n} times`);
      if (entry.posted) acknowledged += 1;
      if (entry.posted && row?.inputs.id !== entry.id) {
        wrong.push(`${entry.id} was acknowledged and is missing`);
      }
      if (entry.patched && (row?.status !== 'success' || row.outputs?.answer !== entry.answer)) {
        wrong.push(`${entry.id} lost its acknowledged end`);
      }
    }
  }
  return { acknowledged, wrong };
}
