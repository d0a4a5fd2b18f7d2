/**
 * A bounded queue of many owners. They take turns, whoever came first, so that one who has a thousand waiting delays
 * another by one; and where the queue is full, room is made at the cost of whoever takes up most of it. Pure.
 */
export class FairQueue<T extends { readonly owner: string }> {
  readonly #limit: number;
  /** In the order of their turns; none is empty. */
  readonly #queues = new Map<string, T[]>();
  #length = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get length(): number {
    return this.#length;
  }

  /** What has to go so that the queue stays within its limit, which may be the item itself. */
  push(item: T): T | undefined {
    const own = this.#queues.get(item.owner);
    let displaced: T | undefined;
    if (this.#length >= this.#limit) {
      const longest = [...this.#queues.values()].reduce<T[]>((a, b) => (b.length > a.length ? b : a), []);
      if (longest.length <= (own?.length ?? 0) + 1) return item;
      displaced = longest.pop();
      this.#length -= 1;
    }
    if (own === undefined) this.#queues.set(item.owner, [item]);
    else own.push(item);
    this.#length += 1;
    return displaced;
  }

  shift(): T | undefined {
    const [next] = this.#queues;
    if (next === undefined) return undefined;
    const [owner, queue] = next;
    const item = queue.shift();
    this.#length -= 1;
    this.#queues.delete(owner);
    if (queue.length > 0) this.#queues.set(owner, queue);
    return item;
  }

  remove(item: T): void {
    const queue = this.#queues.get(item.owner);
    const place = queue?.indexOf(item) ?? -1;
    if (queue === undefined || place === -1) return;
    queue.splice(place, 1);
    this.#length -= 1;
    if (queue.length === 0) this.#queues.delete(item.owner);
  }

  /** All that waits; nothing does any more. */
  drain(): T[] {
    const all = [...this.#queues.values()].flat();
    this.#queues.clear();
    this.#length = 0;
    return all;
  }
}
