/** A value that prints as its name. `reveal()` is the only way out, so that every use can be found by searching for it. */

const INSPECT = Symbol.for('nodejs.util.inspect.custom')
const known = new Set<string>()

export class Secret {
  readonly #value: string
  readonly label: string

  /**
   * `label` is what a reader sees instead, for example `HCLOUD_TOKEN`. An `unlisted` value is unknown to the redactor: for what is
   * never printed, yet may be a word that other texts need ("production").
   */
  constructor(label: string, value: string, listing: 'listed' | 'unlisted' = 'listed') {
    this.label = label
    this.#value = value
    if (value.length >= 6 && listing === 'listed') known.add(value)
  }

  reveal(): string {
    return this.#value
  }

  toString(): string {
    return `<${this.label}>`
  }

  toJSON(): string {
    return this.toString()
  }

  [INSPECT](): string {
    return this.toString()
  }
}

/** Every secret value made in this process; the redactor's input. */
export const knownSecrets = (): readonly string[] => [...known]
