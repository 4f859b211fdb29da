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
  readonly #pending = new Map<keyof W, Promise<unknown>>()
  readonly #values = new Map<keyof W, unknown>()
  readonly #touched = new Set<keyof W>()

  constructor(readers: Readers<W>) {
    this.#readers = readers
  }

  /** Reads the slices that are not known yet, side by side. Rejects with the first failure. */
  async look(slices: Iterable<keyof W>): Promise<void> {
    await Promise.all([...new Set(slices)].map(slice => this.#read(slice)))
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
  }

  /** Marks a slice as changed when the new value is not known locally. */
  touch(slice: keyof W): void {
    this.#touched.add(slice)
  }

  get touched(): ReadonlySet<keyof W> {
    return this.#touched
  }

  /** Forgets `slices`, so that the next look reads them again. */
  forget(slices: Iterable<keyof W>): void {
    for (const slice of slices) {
      this.#pending.delete(slice)
      this.#values.delete(slice)
      this.#touched.delete(slice)
    }
  }

  #read<K extends keyof W>(slice: K): Promise<W[K]> {
    const known = this.#pending.get(slice)
    if (known) return known as Promise<W[K]>
    const reading = this.#readers[slice](dependency => this.#read(dependency)).then(value => {
      this.#values.set(slice, value)
      return value
    })
    this.#pending.set(slice, reading)
    return reading
  }
}
