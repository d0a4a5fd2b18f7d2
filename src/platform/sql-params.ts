/** The bound values of one statement. The only way a value gets near SQL text is as its placeholder. */
export class SqlParams {
  /** @param values an array that is already in use for the statement: numbering goes on behind it. */
  constructor(readonly values: unknown[] = []) {}

  private readonly known = new Map<string, string>();

  /** Binds a value. `$3`, or `$3::uuid` with a cast, which is a type name and never input. */
  add(value: unknown, cast?: string): string {
    const placeholder = `$${this.values.push(value)}`;
    return cast === undefined ? placeholder : `${placeholder}::${cast}`;
  }

  /** Like `add`, but binds once per name, for values that occur all over a statement. */
  once(name: string, value: unknown, cast: string): string {
    const present = this.known.get(name);
    if (present !== undefined) return present;
    const placeholder = this.add(value, cast);
    this.known.set(name, placeholder);
    return placeholder;
  }
}
