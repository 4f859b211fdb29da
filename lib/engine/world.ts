/**
 * The world as observed, in slices. A slice is fetched at most once per look, whoever asks; a change writes what it created
 * straight into its slice, so that later steps see it without another request.
 */

/** How each slice of `W` is read. A reader may ask for other slices (machines need servers), never for itself. */
export type Readers<W> = { readonly [K in keyof W]: (get: <D extends keyof W>(slice: D) => Promise<W[D]>) => Promise<W[K]> }

/** What a step sees: slices that were read before. Asking for another one is a bug and throws. */
export interface WorldView<W> {
  get<K extends keyof W>(slice: K): W[K]
}

export class World<W> implements WorldView<W> {
  readonly #readers: Readers<W>
  readonly #pending = new Map<keyof W, Promise<void>>()
  readonly #values = new Map<keyof W, unknown>()
  readonly #touched = new Set<keyof W>()
  readonly #stale = new Set<keyof W>()
  readonly #edits = new Map<keyof W, number>()
  /** How many changes had ended when the present value began to be read from the world; absent for a value that a change wrote. */
  readonly #seenAfter = new Map<keyof W, number>()
  #ended = 0

  constructor(readers: Readers<W>) {
    this.#readers = readers
  }

  /**
   * Reads the slices that are not known yet or were touched since, side by side. A value that is read again stays readable
   * until the new one is there. Rejects with the first failure; a later look tries again.
   */
  async look(slices: Iterable<keyof W>): Promise<void> {
    await Promise.all([...new Set(slices)].map(slice => this.#know(slice, [])))
  }

  get<K extends keyof W>(slice: K): W[K] {
    if (!this.#values.has(slice)) throw new Error(`bug: slice "${String(slice)}" was not read; add it to the step's reads`)
    return this.#values.get(slice) as W[K]
  }

  has(slice: keyof W): boolean {
    return this.#values.has(slice)
  }

  /** Records what a change made true; the slice counts as touched and is read again for verification. */
  update<K extends keyof W>(slice: K, change: (current: W[K]) => W[K]): void {
    this.#values.set(slice, change(this.get(slice)))
    this.#touched.add(slice)
    this.#edited(slice)
  }

  /** Marks a slice as changed when the new value is not known locally; the next look reads it again. */
  touch(slice: keyof W): void {
    this.#touched.add(slice)
    this.#stale.add(slice)
    this.#edited(slice)
  }

  /** A change has ended, well or not: what was read before says nothing of what it did. */
  changed(): void {
    this.#ended += 1
  }

  /** What was touched, without the slices that were read after the last change had ended. */
  get unproven(): ReadonlySet<keyof W> {
    return new Set([...this.#touched].filter(slice => !this.#isSeen(slice)))
  }

  get touched(): ReadonlySet<keyof W> {
    return this.#touched
  }

  /** Forgets `slices`, so that the next look reads them again. */
  forget(slices: Iterable<keyof W>): void {
    for (const slice of [...slices]) {
      this.#pending.delete(slice)
      this.#values.delete(slice)
      this.#touched.delete(slice)
      this.#stale.delete(slice)
      this.#edited(slice)
    }
  }

  #isSeen(slice: keyof W): boolean {
    return this.#seenAfter.get(slice) === this.#ended
  }

  #edited(slice: keyof W): void {
    this.#seenAfter.delete(slice)
    this.#edits.set(slice, (this.#edits.get(slice) ?? 0) + 1)
  }

  async #know(slice: keyof W, askedBy: readonly (keyof W)[]): Promise<void> {
    if (askedBy.includes(slice)) throw new Error(`bug: slice "${[...askedBy, slice].map(String).join('" needs "')}"`)
    for (;;) {
      const known = this.#values.has(slice) && !this.#stale.has(slice)
      const pending = this.#pending.get(slice)
      if (known && !pending) return
      await (pending ?? this.#start(slice, askedBy))
    }
  }

  #start(slice: keyof W, askedBy: readonly (keyof W)[]): Promise<void> {
    const reading: Promise<void> = this.#read(slice, askedBy).finally(() => {
      if (this.#pending.get(slice) === reading) this.#pending.delete(slice)
    })
    this.#pending.set(slice, reading)
    return reading
  }

  async #read<K extends keyof W>(slice: K, askedBy: readonly (keyof W)[]): Promise<void> {
    this.#stale.delete(slice)
    const edits = this.#edits.get(slice)
    const ended = this.#ended
    const asked = new Set<keyof W>()
    try {
      const value = await this.#readers[slice](async dependency => {
        await this.#know(dependency, [...askedBy, slice])
        asked.add(dependency)
        return this.get(dependency)
      })
      // An answer that was under way while a change wrote to the slice may lack what the change made: it is asked for again.
      if (this.#edits.get(slice) === edits) {
        this.#values.set(slice, value)
        if ([...asked].every(dependency => this.#isSeen(dependency) || !this.#touched.has(dependency)))
          this.#seenAfter.set(slice, ended)
      } else if (this.#values.has(slice)) this.#stale.add(slice)
    } catch (error) {
      if (this.#values.has(slice)) this.#stale.add(slice)
      throw error
    }
  }
}
