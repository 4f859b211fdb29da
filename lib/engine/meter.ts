/** Counts requests per provider, for the summary and for the promise that a plan writes nothing. */

export type Effect = 'read' | 'write'

export interface Meter {
  /** A request that cannot have an effect (a permission probe) counts as a read. */
  count(provider: string, effect: Effect): void
  snapshot(): Readonly<Record<string, { readonly reads: number; readonly writes: number }>>
}

export function createMeter(): Meter {
  const counts = new Map<string, { reads: number; writes: number }>()
  return {
    count(provider, effect) {
      const entry = counts.get(provider) ?? { reads: 0, writes: 0 }
      entry[effect === 'read' ? 'reads' : 'writes'] += 1
      counts.set(provider, entry)
    },
    snapshot: () => Object.fromEntries([...counts].map(([provider, entry]) => [provider, { ...entry }])),
  }
}
