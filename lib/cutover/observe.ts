/** What servers, resolvers and visitors see of a moving name, judged. Pure. */

import type { DnsAnswer, TlsReport } from '../providers/ports/outside.ts'
import { isOpen, type Move } from './move.ts'
import { clockText, goneAtMs, liveTtlS } from './ttl.ts'

export interface Observation {
  readonly authoritative: { readonly A: readonly DnsAnswer[]; readonly AAAA: readonly DnsAnswer[] }
  readonly resolvers: { readonly A: readonly DnsAnswer[]; readonly AAAA: readonly DnsAnswer[] }
  readonly tls: TlsReport
  /** What a visitor gets under the name, at the address that the resolvers give. */
  readonly page:
    | {
        readonly state: 'answers'
        readonly status: number
        readonly headers: Readonly<Record<string, string>>
        readonly body: string
      }
    | { readonly state: 'silent'; readonly why: string }
}

export interface Seen {
  /** `arrived`: everybody sees the new place. `partly`: only caches still give the old one. `wrong`: what no waiting mends. */
  readonly state: 'arrived' | 'partly' | 'wrong'
  readonly lines: readonly string[]
}

/** A page that shows the way to somewhere, or asks who is there, is an answer too. */
export const isServed = (status: number): boolean => (status >= 200 && status < 400) || status === 401 || status === 403

/** Judges a name after its switch. Behind the proxy the addresses are Cloudflare's, and tell nothing. */
export function judgeArrival(move: Move, seen: Observation): Seen {
  const wanted = { A: move.to.ipv4, AAAA: move.to.ipv6 } as const
  const families = ['A', 'AAAA'] as const
  const strayed = (answers: readonly DnsAnswer[], type: 'A' | 'AAAA'): string[] =>
    answers.flatMap(answer => {
      if (answer.status !== 'ok' && !(answer.status === 'nxdomain' && wanted[type] === undefined && wanted.A === undefined))
        return [`${answer.server} answers ${answer.status} for ${move.name} ${type}`]
      if (move.proxied) return []
      const expected = wanted[type] === undefined ? [] : [wanted[type]]
      const values = answer.values
      const agrees = values.length === expected.length && values.every(value => expected.includes(value))
      return agrees ? [] : [`${answer.server} answers ${values.join(', ') || 'nothing'} for ${move.name} ${type}`]
    })
  const authoritative = families.flatMap(type => strayed(seen.authoritative[type], type))
  const silent = seen.authoritative.A.length === 0 ? [`no name server of ${move.zone} was found`] : []
  // A resolver that can't be reached from here says nothing about the name; one that still knows of no IPv6 leads nobody elsewhere.
  const lacksIpv6 = (type: 'A' | 'AAAA', { status, values }: DnsAnswer) =>
    type === 'AAAA' && status === 'ok' && values.length === 0
  const heard = (type: 'A' | 'AAAA') =>
    seen.resolvers[type].filter(answer => answer.status !== 'silent' && !lacksIpv6(type, answer))
  const cached = families.flatMap(type => strayed(heard(type), type))
  const visit = [
    ...(seen.tls.state === 'trusted'
      ? []
      : [`https://${move.name} has no trusted certificate${seen.tls.why ? `: ${seen.tls.why}` : ''}`]),
    ...(seen.page.state === 'silent'
      ? [`https://${move.name} does not answer: ${seen.page.why}`]
      : isServed(seen.page.status)
        ? []
        : [`https://${move.name}${move.path} answers ${seen.page.status}`]),
  ]
  const wrong = [...silent, ...authoritative, ...visit]
  if (wrong.length > 0) return { state: 'wrong', lines: [...wrong, ...cached] }
  return cached.length > 0 ? { state: 'partly', lines: cached } : { state: 'arrived', lines: [] }
}

/** When the last answer from before is forgotten everywhere, once the name was switched. */
export const oldAnswersGoneAtMs = (move: Move): number | undefined =>
  move.marks.switchedAtMs === undefined ? undefined : goneAtMs(move.marks.switchedAtMs, ttlAtSwitchS(move))

/** Lowered and waited out, the TTL at the switch is the low one; a proxied record keeps Cloudflare's own. */
export const ttlAtSwitchS = (move: Move): number => {
  // The name had no record: "not there" lives on as long as it did before.
  if (move.before.length === 0) return move.oldTtlS
  const most = Math.max(...move.before.map(liveTtlS))
  return move.proxied || move.marks.loweredAtMs === undefined ? Math.max(most, move.oldTtlS) : Math.min(most, move.switchTtlS)
}

/** "old answers may live until 14:05 UTC" */
export const oldAnswersText = (move: Move, nowMs: number): string => {
  const goneAt = oldAnswersGoneAtMs(move)
  if (goneAt === undefined) return `${move.name} is not switched yet`
  return goneAt <= nowMs
    ? `old answers for ${move.name} ended at ${clockText(goneAt, nowMs)}`
    : `old answers for ${move.name} may live until ${clockText(goneAt, nowMs)}`
}

/** What leads to the old host: addresses and alias targets from before, and what the operator says about it. */
export interface OldHost {
  readonly addresses: readonly string[]
  /** Name endings: "vercel-dns.com". */
  readonly domains: readonly string[]
  /** Response headers that only the old host sends: "x-vercel-id". */
  readonly headers: readonly string[]
}

/** Every sign that the old host is still reached under the name; empty when there is none. */
export function findOldHost(move: Move, seen: Observation, old: OldHost): string[] {
  const isNew = (value: string) => value === move.to.ipv4 || value === move.to.ipv6
  const leads = (answers: readonly DnsAnswer[], what: string) =>
    answers.flatMap(({ server, values }) =>
      values
        .filter(value => !isNew(value) && (old.addresses.includes(value) || old.domains.some(domain => isBelow(value, domain))))
        .map(value => `${what} ${server} leads ${move.name} to ${value}`),
    )
  const page = seen.page
  const headers = page.state === 'answers' ? old.headers.filter(name => page.headers[name.toLowerCase()] !== undefined) : []
  const bodies = page.state === 'answers' ? old.domains.filter(domain => page.body.includes(domain)) : []
  return [
    ...leads([...seen.authoritative.A, ...seen.authoritative.AAAA], 'name server'),
    ...leads([...seen.resolvers.A, ...seen.resolvers.AAAA], 'resolver'),
    ...headers.map(name => `https://${move.name} is served by the old host (it sends ${name})`),
    ...bodies.map(domain => `the page at https://${move.name} fetches from ${domain}`),
  ]
}

export const isBelow = (name: string, domain: string): boolean => name === domain || name.endsWith(`.${domain}`)

export type DecommissionVerdict =
  | { readonly state: 'too_early'; readonly why: string; readonly untilMs: number }
  | { readonly state: 'in_use'; readonly signs: readonly string[] }
  | { readonly state: 'quiet'; readonly sinceMs: number; readonly leftMs: number }
  | { readonly state: 'proven'; readonly sinceMs: number }

/** Whether the old host may be switched off, after one more look at `nowMs` in which `signs` were seen. */
export function judgeDecommission(move: Move, signs: readonly string[], quietForMs: number, nowMs: number): DecommissionVerdict {
  const goneAt = oldAnswersGoneAtMs(move)
  if (goneAt === undefined || !isOpen(move)) return { state: 'too_early', why: `${move.name} was never switched`, untilMs: nowMs }
  if (nowMs < goneAt) return { state: 'too_early', why: oldAnswersText(move, nowMs), untilMs: goneAt }
  if (signs.length > 0) return { state: 'in_use', signs }
  const sinceMs = Math.max(move.marks.quietSinceMs ?? nowMs, goneAt)
  const left = sinceMs + quietForMs - nowMs
  return left > 0 ? { state: 'quiet', sinceMs, leftMs: left } : { state: 'proven', sinceMs }
}
