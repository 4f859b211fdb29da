/**
 * The estate's lock: a firewall without rules that is applied to nothing, because its unique name makes creating it atomic and it
 * costs nothing. Its own requests are not guarded by `beforeWrite` or an interrupt: they are what the guard stands on, and the lock
 * has to be released after an interrupt too.
 */

import { hasCode, LandfallError } from '../../errors.ts'
import type { CloudLocks, Labels, LockHolder } from '../ports/cloud.ts'
import { createNamed, type Deps, findNamed } from './deps.ts'
import { cleanText, parseJson } from './failure.ts'
import { labelsFromText, textFromLabels } from './label-text.ts'
import { labelsFromWire, objectIn, recordOf, type WireNamed } from './wire.ts'

/** Present on every lock object, and on nothing else. */
const LOCK_LABEL = 'landfall/lock'
/** The holder without its beat, as JSON. */
const HOLDER_LABEL = 'landfall/lock-holder'
const BEAT_LABEL = 'landfall/lock-beat'

/** Longer words are cut, to stay far below what labels can hold. */
const LONGEST_WORD = 120

const nameOf = (estate: string): string => `landfall-lock-${estate}`

/** Whether a firewall is a lock, which no list of firewalls may show. */
export const isLock = (firewall: WireNamed): boolean => firewall.labels?.[LOCK_LABEL] !== undefined

/** @param listed the names of the locks in the newest list of firewalls */
export function createLocks(deps: Deps, listed: () => ReadonlySet<string> | undefined): CloudLocks {
  const { calls, token } = deps
  /** The labels of locks that this process made, which nobody else changes: another holder has another object. */
  const made = new Map<string, { readonly runId: string; readonly labels: Labels }>()
  const place = (estate: string) => ({
    what: `the lock of estate ${estate}`,
    path: '/firewalls',
    key: 'firewalls',
    name: nameOf(estate),
    guarded: false,
  })
  const read = (wire: WireNamed): LockHolder | undefined => holderFromWire(wire, text => cleanText(text, token))

  return {
    async create(holder) {
      const { name, ...where } = place(holder.estate)
      const { object } = await createNamed<WireNamed>(deps, {
        ...where,
        key: 'firewall',
        body: { name, rules: [], labels: holderToWire(holder) },
        find: async () => {
          const found = await findNamed<WireNamed>(deps, { ...where, name })
          return found.value && { object: found.value, actions: [], receivedAtMs: found.receivedAtMs }
        },
      }).catch((error: unknown) => {
        if (!hasCode(error, 'name_taken')) throw error
        // It was there when we asked for it and could not be found when we looked: its holder comes or goes just now.
        throw lockedBy(`Another run is just taking or leaving the estate ${holder.estate}.`)
      })
      const now = read(object)
      if (now === undefined) {
        throw new LandfallError('name_taken', `The firewall ${name} is not a lock of Landfall, and has the name of one.`, {
          hint: 'Rename or delete it in the Hetzner Console → Firewalls.',
        })
      }
      if (now.runId === holder.runId) {
        made.set(String(object.id), { runId: holder.runId, labels: labelsFromWire(object.labels) })
        return { id: String(object.id) }
      }
      throw lockedBy(
        `${now.who} holds the estate ${now.estate} since ${object.created ?? 'a while'} (${now.command}, pid ${now.pid}).`,
      )
    },

    async find(estate) {
      const found = await findNamed<WireNamed>(deps, place(estate))
      const holder = found.value && read(found.value)
      if (found.value === undefined || holder === undefined) return undefined
      const sinceMs = Date.parse(found.value.created ?? '')
      return { id: String(found.value.id), holder, nowMs: found.dateMs, ...(Number.isNaN(sinceMs) ? {} : { sinceMs }) }
    },

    seen: estate => listed()?.has(nameOf(estate)),

    async beat(id, runId) {
      const request = { what: 'keep the lock of the estate', path: pathOf(id), guarded: false }
      const own = made.get(id)
      const nowMs = own?.runId === runId ? calls.vendorNowMs() : undefined
      try {
        if (own && nowMs !== undefined) {
          // One request is enough: whoever takes over deletes this object, so that one which still exists is ours.
          const labels = { ...own.labels, [BEAT_LABEL]: String(Math.round(nowMs)) }
          await calls.call({ ...request, method: 'PUT', body: { labels } }, () => undefined)
          return
        }
        const answer = await calls.call({ ...request, method: 'GET' }, json => objectIn<WireNamed>(json, 'firewall'))
        const now = read(answer.value)
        if (now?.runId !== runId) throw lockedBy(`The lock of the estate now belongs to ${now?.who ?? 'another run'}.`)
        const labels = { ...answer.value.labels, [BEAT_LABEL]: String(answer.dateMs) }
        await calls.call({ ...request, method: 'PUT', body: { labels } }, () => undefined)
      } catch (error) {
        if (hasCode(error, 'not_found')) throw lockedBy('The lock of the estate is gone: another run has broken it.')
        throw error
      }
    },

    async delete(id) {
      made.delete(id)
      await calls.remove({ what: 'release the lock of the estate', path: pathOf(id), guarded: false }, () => undefined)
    },
  }
}

const pathOf = (id: string): string => `/firewalls/${encodeURIComponent(id)}`

const lockedBy = (sentence: string): LandfallError =>
  new LandfallError('locked', sentence, {
    hint: 'Wait until that run has ended, then run the same command again: it looks first.',
  })

function holderToWire(holder: Omit<LockHolder, 'beatAtMs'>): Labels {
  const text = JSON.stringify({
    ...holder,
    who: holder.who.slice(0, LONGEST_WORD),
    command: holder.command.slice(0, LONGEST_WORD),
  } satisfies typeof holder)
  return { [LOCK_LABEL]: 'true', ...labelsFromText(HOLDER_LABEL, text) }
}

function holderFromWire(wire: WireNamed, clean: (text: string) => string): LockHolder | undefined {
  const labels = wire.labels ?? {}
  const fields = recordOf(parseJson(textFromLabels(HOLDER_LABEL, labels) ?? ''))
  const { estate, runId, who, hostId, pid, command } = fields ?? {}
  if (typeof estate !== 'string' || typeof runId !== 'string' || typeof hostId !== 'string') return undefined
  // A lock that never beat is as old as the vendor says, by the same clock.
  const beats = [Number(labels[BEAT_LABEL]), Date.parse(wire.created ?? '')].filter(Number.isFinite)
  return {
    estate: clean(estate),
    runId,
    who: typeof who === 'string' ? clean(who) : 'somebody',
    hostId,
    pid: typeof pid === 'number' ? pid : 0,
    command: typeof command === 'string' ? clean(command) : 'an unknown command',
    beatAtMs: Math.max(0, ...beats),
  }
}
