/** The order in which steps may start: every step after what it needs, and otherwise as the script listed them. */

import type { Step } from './step.ts'

export interface OrderOptions {
  /** The list is a selection: needs that are not in it count as done. Without it an unknown need is a bug. */
  readonly partial?: boolean
}

type Node = Pick<Step<never>, 'id' | 'needs'>

/**
 * Sorts so that each step follows its needs; among steps that could come next, the one listed first comes first.
 * @throws Error (a bug of the script) for a duplicate id, an unknown need, or a cycle, which it names
 */
export function orderSteps<S extends Node>(steps: readonly S[], options: OrderOptions = {}): S[] {
  const places = placesOf(steps)
  const open = steps.map(step => needsOf(step, places, options).length)
  const followers = new Map<string, number[]>()
  steps.forEach((step, place) => {
    for (const need of needsOf(step, places, options)) followers.set(need, [...(followers.get(need) ?? []), place])
  })

  const ready = steps.flatMap((_, place) => (open[place] === 0 ? [place] : []))
  const ordered: S[] = []
  for (let place = ready.shift(); place !== undefined; place = ready.shift()) {
    const step = steps[place]
    if (!step) continue
    ordered.push(step)
    for (const follower of followers.get(step.id) ?? []) {
      open[follower] = (open[follower] ?? 0) - 1
      if (open[follower] === 0) insert(ready, follower)
    }
  }
  if (ordered.length < steps.length) throw new Error(`bug: steps need each other: ${cycleIn(steps, ordered).join(' → ')}`)
  return ordered
}

/** The needs that belong to the list, each once. */
export const knownNeeds = (step: Node, ids: { has(id: string): boolean }): string[] =>
  [...new Set(step.needs)].filter(need => ids.has(need))

function placesOf(steps: readonly Node[]): Map<string, number> {
  const places = new Map<string, number>()
  for (const [place, step] of steps.entries()) {
    if (places.has(step.id)) throw new Error(`bug: two steps are called "${step.id}"`)
    places.set(step.id, place)
  }
  return places
}

function needsOf(step: Node, places: Map<string, number>, options: OrderOptions): string[] {
  const unknown = step.needs.find(need => !places.has(need))
  if (unknown !== undefined && !options.partial) throw new Error(`bug: step "${step.id}" needs "${unknown}", which is no step`)
  return knownNeeds(step, places)
}

function insert(sorted: number[], value: number): void {
  const at = sorted.findIndex(other => other > value)
  sorted.splice(at === -1 ? sorted.length : at, 0, value)
}

/** Every step that was left over needs another one that was left over, so following needs must come round. */
function cycleIn(steps: readonly Node[], ordered: readonly Node[]): string[] {
  const settled = new Set(ordered.map(step => step.id))
  const left = new Map(steps.filter(step => !settled.has(step.id)).map(step => [step.id, step]))
  const path: string[] = []
  let id = [...left.keys()][0]
  while (id !== undefined && !path.includes(id)) {
    path.push(id)
    id = left.get(id)?.needs.find(need => left.has(need))
  }
  return id === undefined ? path : [...path.slice(path.indexOf(id)), id]
}
