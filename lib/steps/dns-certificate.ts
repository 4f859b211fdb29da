/**
 * A certificate proved by DNS: no name has to point anywhere yet, and no machine that serves it takes part. The key is on disk before the
 * order, and an order that a killed run left is finished, so that no kill costs a second one.
 */

import { type MoveStore, readPem, type StoredCertificate } from '../cutover/store.ts'
import type { World } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import { isOurMark, type RecordMark, renderRecordMark } from '../estate/naming.ts'
import type { Acme, AcmeOrder } from '../providers/ports/acme.ts'
import type { DnsRecord, WantedRecord } from '../providers/ports/dns.ts'
import type { Secret } from '../secret.ts'
import type { Deps } from './deps.ts'
import type { EstateWorld } from './world.ts'

export interface CertificateDeps extends Pick<Deps, 'estate' | 'clock' | 'dns' | 'outside'> {
  readonly acme: () => Promise<Acme>
  readonly store: Pick<MoveStore, 'readCertificate' | 'writeCertificate' | 'addOrder'>
  readonly email: string
  readonly makeKey: (label: string) => Secret
}

export interface CertificateWish {
  /** Sorted. */
  readonly names: readonly string[]
  /** What it is filed under here. */
  readonly kept: string
  readonly keyLabel: string
  /** Whose the proofs in the zone are. */
  readonly mark: RecordMark
}

export interface Obtained {
  /** With its chain. */
  readonly certificate: string
  readonly privateKey: Secret
}

const RENEW_BEFORE_MS = 30 * 24 * 3_600_000
const LIMIT_MS = 5 * 60_000
const POLL_MS = 1_000
const PROOF_TTL_S = 60

type Live = World<EstateWorld>

/** Good for a month more. */
export const isLasting = (notAfterMs: number, nowMs: number): boolean => notAfterMs - nowMs > RENEW_BEFORE_MS

const proofName = (name: string): string => `_acme-challenge.${name.replace(/^\*\./, '')}`

/** Proofs of ours for these names that stand in the zone. */
export const proofsIn = (
  { estate }: Pick<CertificateDeps, 'estate'>,
  names: readonly string[],
  records: readonly DnsRecord[],
): DnsRecord[] =>
  records.filter(
    each => each.type === 'TXT' && names.some(name => proofName(name) === each.name) && isOurMark(each.comment, estate.name),
  )

/** Orders the certificate, or goes on with an order, or takes what was ordered before and is still good. */
export async function obtainCertificate(
  deps: CertificateDeps,
  { names, kept, keyLabel, mark }: CertificateWish,
  live: Live,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<Obtained> {
  const { store, clock } = deps
  const acme = await deps.acme()
  await acme.openAccount(deps.email)
  const before = await store.readCertificate(kept)
  // An order that a killed run left is finished; what it was finished with, but not put in place, is used.
  const usable = before?.directory === acme.directory && before.names.join() === names.join() ? before : undefined
  if (usable?.certificate !== undefined && isLasting(readPem(usable.certificate)?.notAfterMs ?? 0, clock.nowMs()))
    return { certificate: usable.certificate, privateKey: usable.privateKey }
  let stored: StoredCertificate | undefined = usable
  const found =
    usable?.orderUrl === undefined || usable.certificate !== undefined ? undefined : await acme.findOrder(usable.orderUrl)
  let order = found !== undefined && found.state !== 'invalid' ? found : undefined
  if (order === undefined || !stored) {
    await store.addOrder({ atMs: clock.nowMs(), event: 'ordered', directory: acme.directory, names })
    order = await acme.createOrder(names)
    stored = { server: kept, names, directory: acme.directory, orderUrl: order.url, privateKey: deps.makeKey(keyLabel) }
    await store.writeCertificate(stored)
  }
  if (order.state === 'pending') order = await prove(deps, acme, order, { names, mark }, live, signal, log)
  if (order.state === 'ready') {
    await store.addOrder({ atMs: clock.nowMs(), event: 'finalized', directory: acme.directory, names })
    await acme.finalizeOrder(order, stored.privateKey)
  }
  const certificate = await acme.downloadCertificate(await waitOrder(deps, acme, order, ['valid'], signal))
  const pem = readPem(certificate)
  if (!pem || !names.every(name => pem.covers(name.replace(/^\*/, 'any'))))
    throw new LandfallError('vendor', `The certificate authority's certificate does not cover ${names.join(', ')}.`)
  await store.writeCertificate({ ...stored, certificate })
  return { certificate, privateKey: stored.privateKey }
}

async function prove(
  deps: CertificateDeps,
  acme: Acme,
  order: AcmeOrder,
  { names, mark }: Pick<CertificateWish, 'names' | 'mark'>,
  live: Live,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<AcmeOrder> {
  const { dns, outside, clock } = deps
  const zone = live.get('zone')
  if (!zone) throw new Error('bug: a certificate without a zone')
  const open = order.challenges.filter(each => each.state === 'pending' || each.state === 'processing')
  const comment = renderRecordMark(mark)
  const standing = proofsIn(deps, names, live.get('records'))
  const isProof = (record: DnsRecord, { recordName, recordValue }: AcmeOrder['challenges'][number]) =>
    record.name === recordName && record.content === recordValue
  const posts = open
    .filter(each => !standing.some(record => isProof(record, each)))
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
  const stale = standing.filter(record => !open.some(each => isProof(record, each)))
  if (posts.length + stale.length > 0)
    await dns.changeRecords(zone.id, { deletes: stale.map(({ id }) => ({ id })), patches: [], posts })
  await relookRecords(live)
  const endsAtMs = clock.monotonicMs() + LIMIT_MS
  for (const { recordName, recordValue } of open)
    for (;;) {
      // At the name servers alone: a resolver that is asked too early remembers for half an hour that there is nothing.
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
  log('the certificate authority looks at the proofs')
  const next = await waitOrder(deps, acme, order, ['ready', 'processing', 'valid', 'invalid'], signal)
  if (next.state !== 'invalid') return next
  const bad = next.challenges.flatMap(challenge => (challenge.state === 'invalid' ? [challenge.name] : []))
  const failed = bad.length > 0 ? bad : order.names
  await deps.store.addOrder({ atMs: clock.nowMs(), event: 'failed', directory: acme.directory, names: failed })
  await removeProofs(deps, live, proofsIn(deps, names, await relookRecords(live)))
  throw new LandfallError('forbidden', `The certificate authority did not accept the proof${next.why ? `: ${next.why}` : ''}.`, {
    hint: 'Nothing was switched. Mend what it names, then run the same command again; five failures in an hour are the limit.',
  })
}

const relookRecords = async (live: Live): Promise<readonly DnsRecord[]> => {
  live.touch('records')
  await live.look(['records'])
  return live.get('records')
}

export async function removeProofs(deps: Pick<CertificateDeps, 'dns'>, live: Live, proofs: readonly DnsRecord[]): Promise<void> {
  const zone = live.get('zone')
  if (!zone || proofs.length === 0) return
  await deps.dns.changeRecords(zone.id, { deletes: proofs.map(({ id }) => ({ id })), patches: [], posts: [] })
  live.update('records', all => all.filter(record => !proofs.some(each => each.id === record.id)))
}

async function waitOrder(
  { clock }: Pick<CertificateDeps, 'clock'>,
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
