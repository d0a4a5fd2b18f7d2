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

interface StoredRun {
  readonly id: string;
  readonly status: string;
  readonly inputs: { id: string } | null;
  readonly outputs: { answer: string } | null;
  readonly n: number;
}

/**
 * What does not agree between journals and database: acknowledged but missing, incomplete or not announced in the feed;
 * stored twice; half a payload of something that was not acknowledged; announced but not there.
 */
export async function checkJournals(
  pool: pg.Pool,
  journals: readonly JournalClient[],
): Promise<{ acknowledged: number; wrong: string[] }> {
  const wrong: string[] = [];
  let acknowledged = 0;
  const announced = await announcedRuns(pool);
  for (const journal of journals) {
    const { rows } = await pool.query<StoredRun>(
      `select id, min(status) as status, (array_agg(inputs))[1] as inputs, (array_agg(outputs))[1] as outputs, count(*)::int as n
       from runs where id = any($1::uuid[]) group by id`,
      [[...journal.sent.keys()]],
    );
    const stored = new Map(rows.map((row) => [row.id, row]));
    for (const entry of journal.sent.values()) {
      if (entry.posted) acknowledged += 1;
      wrong.push(...faultsOf(entry, stored.get(entry.id), announced.get(entry.id)));
    }
  }
  return { acknowledged, wrong };
}

/** The kinds of feed entries by run. */
async function announcedRuns(pool: pg.Pool): Promise<Map<string, Set<string>>> {
  const { rows } = await pool.query<{ id: string; kinds: string[] }>(
    `select entry ->> 2 as id, array_agg(distinct entry ->> 0) as kinds
     from feed, json_array_elements(entries) entry
     group by 1`,
  );
  return new Map(rows.map(({ id, kinds }) => [id, new Set(kinds)]));
}

function faultsOf(entry: Sent, row: StoredRun | undefined, announced: Set<string> | undefined): string[] {
  const { id, answer, posted, patched } = entry;
  const faults: (string | false)[] = [
    posted && row?.inputs?.id !== id && `${id} was acknowledged and is missing`,
    patched &&
      (row?.status !== 'success' || row.outputs?.answer !== answer) &&
      `${id} lost its acknowledged end`,
    posted && announced === undefined && `${id} was acknowledged and not announced`,
    patched && announced?.has('e') !== true && `the acknowledged end of ${id} was not announced`,
    row === undefined && announced !== undefined && `${id} was announced and is missing`,
  ];
  if (row !== undefined) {
    faults.push(
      row.n !== 1 && `${id} is stored ${row.n} times`,
      // A patch whose post never came has no inputs, a post without its patch no outputs.
      row.inputs !== null && row.inputs.id !== id && `${id} has something else as inputs`,
      row.outputs !== null && row.outputs.answer !== answer && `${id} has something else as outputs`,
      announced === undefined && `${id} is stored and was not announced`,
    );
  }
  return faults.filter((fault) => fault !== false);
}
