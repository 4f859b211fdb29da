/**
 * One certificate for all previews: a wildcard, proved by DNS. With a certificate for each, fifteen pull requests would use up what the
 * authority gives a domain in a week. It lies on the host alone, where no pull request's code runs as root.
 */

import { type MoveStore, readPem, type StoredCertificate } from '../cutover/store.ts'
import { blocked, done, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import { renderRecordMark } from '../estate/naming.ts'
import type { Acme, AcmeOrder } from '../providers/ports/acme.ts'
import type { DnsRecord, WantedRecord } from '../providers/ports/dns.ts'
import type { Secret } from '../secret.ts'
import type { EstateStep } from './deps.ts'
import { isOurMark } from './dns.ts'
import { runProgram, targetOf } from './machine.ts'
import type { PreviewDeps } from './preview-kit.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

export interface CertificateDeps extends PreviewDeps {
  readonly acme: () => Promise<Acme>
  readonly store: Pick<MoveStore, 'readCertificate' | 'writeCertificate' | 'addOrder'>
  readonly email: string
  readonly makeKey: (label: string) => Secret
}

const RENEW_BEFORE_MS = 30 * 24 * 3_600_000
const LIMIT_MS = 5 * 60_000
const POLL_MS = 1_000
const PROOF_TTL_S = 60

type Live = World<EstateWorld>

const proofsIn = (deps: CertificateDeps, records: readonly DnsRecord[]): DnsRecord[] =>
  records.filter(
    each =>
      each.type === 'TXT' && each.name === `_acme-challenge.${deps.spec.domain}` && isOurMark(each.comment, deps.estate.name),
  )

/** The host has a certificate for the wildcard that is good for a month more, and no proof is left in the zone. */
export function previewCertificateStep(deps: CertificateDeps): EstateStep {
  const { spec } = deps
  const name = `*.${spec.domain}`
  return {
    id: 'preview certificate',
    noun: 'preview',
    title: `the edge has a certificate for ${name}`,
    needs: [`preview host ${spec.host}`, 'zone'],
    reads: ['previews', 'pulls', 'records', 'zone', 'servers'],
    typicalMs: 20_000,
    look(world) {
      const state = world.get('previews')[spec.host]
      const order = { kind: 'create', summary: `order a certificate for ${name}, proved by DNS` } as const
      if (state?.state !== 'ready') return blocked(`machine ${spec.host}`, order)
      const { nowMs } = world.get('pulls')
      const have = state.certificate
      if (!have?.names.includes(name) || have.notAfterMs - nowMs < RENEW_BEFORE_MS)
        return todo({ ...order, apply: ({ world: live, signal, log }) => obtain(deps, live, signal, log) })
      const left = proofsIn(deps, world.get('records'))
      if (left.length === 0) return done(`valid until ${new Date(have.notAfterMs).toISOString().slice(0, 10)}`)
      return todo({
        kind: 'change',
        summary: 'take the proof for the certificate out of the zone',
        apply: ({ world: live }) => removeProofs(deps, live, left),
      })
    },
  }
}

async function obtain(deps: CertificateDeps, live: Live, signal: AbortSignal, log: (line: string) => void): Promise<void> {
  const { spec, store, clock, estate } = deps
  const acme = await deps.acme()
  const names = [`*.${spec.domain}`]
  const kept = `preview-${spec.host}`
  await acme.openAccount(deps.email)
  const before = await store.readCertificate(kept)
  // An order that a killed run left is finished; what it was finished with, but not put in place, is used.
  const usable = before?.directory === acme.directory && before.names.join() === names.join() ? before : undefined
  const found =
    usable?.orderUrl === undefined || usable.certificate !== undefined ? undefined : await acme.findOrder(usable.orderUrl)
  let stored: StoredCertificate | undefined = usable
  let pem = usable?.certificate !== undefined && isFresh(usable.certificate, clock.nowMs()) ? usable.certificate : undefined
  if (pem === undefined || !stored) {
    let order = found !== undefined && found.state !== 'invalid' ? found : undefined
    if (order === undefined || !stored) {
      await store.addOrder({ atMs: clock.nowMs(), event: 'ordered', directory: acme.directory, names })
      order = await acme.createOrder(names)
      stored = {
        server: kept,
        names,
        directory: acme.directory,
        orderUrl: order.url,
        privateKey: deps.makeKey('key of the previews’ certificate'),
      }
      await store.writeCertificate(stored)
    }
    if (order.state === 'pending') order = await prove(deps, acme, order, live, signal, log)
    if (order.state === 'ready') {
      await store.addOrder({ atMs: clock.nowMs(), event: 'finalized', directory: acme.directory, names })
      await acme.finalizeOrder(order, stored.privateKey)
    }
    pem = await acme.downloadCertificate(await waitOrder(deps, acme, order, ['valid'], signal))
    await store.writeCertificate({ ...stored, certificate: pem })
  }
  const server = findServer(estate.name, spec.host, live.get('servers'))
  const target = server && targetOf(estate.name, server)
  if (!target) throw new Error(`bug: ${spec.host} has no address or key`)
  await runProgram(deps, target, 'preview-edge', { CERTIFICATE: pem, KEY: stored.privateKey }, signal)
  const facts = readPem(pem)
  live.update('previews', all => {
    const state = all[spec.host]
    // The edge has to be told to take it up.
    return state?.state === 'ready'
      ? { ...all, [spec.host]: { ...state, caddyfile: 'none', certificate: { names, notAfterMs: facts?.notAfterMs ?? 0 } } }
      : all
  })
}

const isFresh = (pem: string, nowMs: number): boolean => (readPem(pem)?.notAfterMs ?? 0) - nowMs > RENEW_BEFORE_MS

async function prove(
  deps: CertificateDeps,
  acme: Acme,
  order: AcmeOrder,
  live: Live,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<AcmeOrder> {
  const { dns, outside, clock, estate, spec } = deps
  const zone = live.get('zone')
  const server = findServer(estate.name, spec.host, live.get('servers'))
  if (!zone || !server) throw new Error('bug: a certificate without a zone or a server')
  const open = order.challenges.filter(each => each.state === 'pending' || each.state === 'processing')
  const comment = renderRecordMark({ estate: estate.name, server: server.name, serverId: server.id })
  const standing = proofsIn(deps, live.get('records'))
  const posts = open
    .filter(each => !standing.some(record => record.content === each.recordValue))
    .map(
      ({ recordName, recordValue }): WantedRecord => ({
        name: recordName,
        type: 'TXT',
        content: recordValue,
        ttl: PROOF_TTL_S,
        proxied: false,
        comment,
      }),
    )
  const stale = standing.filter(record => !open.some(each => each.recordValue === record.content))
  if (posts.length + stale.length > 0)
    await dns.changeRecords(zone.id, { deletes: stale.map(({ id }) => ({ id })), patches: [], posts })
  live.touch('records')
  await live.look(['records'])
  const endsAtMs = clock.monotonicMs() + LIMIT_MS
  for (const { recordName, recordValue } of open)
    for (;;) {
      // At the name servers alone: a resolver that is asked too early remembers that there is nothing.
      const answers = await outside.askAuthoritative(zone.name, recordName, 'TXT')
      if (answers.length > 0 && answers.every(answer => answer.values.includes(recordValue))) break
      if (clock.monotonicMs() >= endsAtMs)
        throw new LandfallError('timeout', `The name servers of ${zone.name} do not show the proof ${recordName}.`, {
          hint: 'Run the same command again: it goes on with the same order.',
        })
      log(`waiting for ${recordName} at the name servers`)
      await clock.sleep(POLL_MS, signal)
    }
  for (const each of open.filter(one => one.state === 'pending')) await acme.answerChallenge(each)
  const next = await waitOrder(deps, acme, order, ['ready', 'processing', 'valid', 'invalid'], signal)
  if (next.state !== 'invalid') return next
  await deps.store.addOrder({ atMs: clock.nowMs(), event: 'failed', directory: acme.directory, names: order.names })
  await removeProofs(deps, live, proofsIn(deps, live.get('records')))
  throw new LandfallError('forbidden', `The certificate authority did not accept the proof${next.why ? `: ${next.why}` : ''}.`, {
    hint: 'Mend what it names, then run the same command again; five failures in an hour are the limit.',
  })
}

async function removeProofs(deps: CertificateDeps, live: Live, proofs: readonly DnsRecord[]): Promise<void> {
  const zone = live.get('zone')
  if (!zone || proofs.length === 0) return
  await deps.dns.changeRecords(zone.id, { deletes: proofs.map(({ id }) => ({ id })), patches: [], posts: [] })
  live.update('records', all => all.filter(record => !proofs.some(each => each.id === record.id)))
}

async function waitOrder(
  { clock }: CertificateDeps,
  acme: Acme,
  order: AcmeOrder,
  states: readonly AcmeOrder['state'][],
  signal: AbortSignal,
): Promise<AcmeOrder> {
  const endsAtMs = clock.monotonicMs() + LIMIT_MS
  for (;;) {
    const now = await acme.findOrder(order.url)
    if (now && states.includes(now.state)) return now
    if (now === undefined || now.state === 'invalid')
      throw new LandfallError('forbidden', `The certificate authority gave the order up${now?.why ? `: ${now.why}` : ''}.`, {
        hint: 'Run the same command again: it makes a new order.',
      })
    if (clock.monotonicMs() >= endsAtMs)
      throw new LandfallError('timeout', 'The certificate authority has not finished the order within 5 minutes.', {
        hint: 'Run the same command again: it goes on with the same order.',
      })
    await clock.sleep(POLL_MS, signal)
  }
}
