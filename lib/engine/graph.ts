/** The order in which steps may start: every step after what it needs, and otherwise as the script listed them. */

import type { Step } from './step.ts'

export interface OrderOptions {
  /** The list is a selection: needs that are not in it count as done. Without it an unknown need is a bug. */
  readonly partial?: boolean
}

/** A step, its place in the list, and how many of its needs are not yet ordered. */
interface Waiting<S> {
  readonly step: S
  readonly place: number
  open: number
}

type Node = Pick<Step<never>, 'id' | 'needs'>

/**
 * Sorts so that each step follows its needs; among steps that could come next, the one listed first comes first.
 * @throws Error (a bug of the script) for a duplicate id, an unknown need, or a cycle, which it names
 */
export function orderSteps<S extends Node>(steps: readonly S[], options: OrderOptions = {}): S[] {
  const places = placesOf(steps)
  const followers = new Map<string, Waiting<S>[]>()
  const waiting = steps.map((step, place) => {
    const needs = needsOf(step, places, options)
    const entry = { step, place, open: needs.length }
    for (const need of needs) followers.set(need, [...(followers.get(need) ?? []), entry])
    return entry
  })

  const ready = waiting.filter(({ open }) => open === 0)
  const ordered: S[] = []
  for (let next = ready.shift(); next !== undefined; next = ready.shift()) {
    ordered.push(next.step)
    for (const follower of followers.get(next.step.id) ?? []) {
      follower.open -= 1
      if (follower.open === 0) insert(ready, follower)
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

function insert<S>(sorted: Waiting<S>[], entry: Waiting<S>): void {
  const at = sorted.findIndex(other => other.place > entry.place)
  sorted.splice(at === -1 ? sorted.length : at, 0, entry)
}

/** Every step that was left over needs another one that was left over, so following needs must come round. */
function cycleIn(steps: readonly Node[], ordered: readonly Node[]): string[] {
  const settled = new Set(ordered.map(step => step.id))
  const left = new Map(steps.filter(step => !settled.has(step.id)).map(step => [step.id, step]))
  const path: string[] = []
  const [first] = left.keys()
  for (let id = first; id !== undefined; id = path.indexOf(id) < path.length - 1 ? undefined : nextOf(id, left)) path.push(id)
  return path.slice(path.indexOf(String(path.at(-1))))
}

const nextOf = (id: string, left: ReadonlyMap<string, Node>): string | undefined =>
  left.get(id)?.needs.find(need => left.has(need))
