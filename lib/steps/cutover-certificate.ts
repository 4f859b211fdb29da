/** The certificate that visitors will be shown at the new place: proved by DNS while the name still leads to the old one. */

import { isMarked } from '../cutover/changes.ts'
import { isOpen } from '../cutover/move.ts'
import { readPem, type StoredCertificate } from '../cutover/store.ts'
import { blocked, done, refused, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import { renderRecordMark } from '../estate/naming.ts'
import type { Acme, AcmeOrder } from '../providers/ports/acme.ts'
import type { DnsRecord, WantedRecord } from '../providers/ports/dns.ts'
import { type CutoverDeps, namesFor, openPanel } from './cutover-world.ts'
import type { EstateStep } from './deps.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

const ORDER_TIMEOUT_MS = 5 * 60_000
const RECORD_TIMEOUT_MS = 5 * 60_000
const POLL_MS = 1_000
const CHALLENGE_TTL_S = 60

/** `move`: after the snapshot, as a part of one. `alone`: before anything else, so that deploys already find a trusted certificate. */
type Occasion = 'move' | 'alone'

/** For each server: a certificate in hand, and then in its Traefik. */
export const certificateSteps = (deps: CutoverDeps, occasion: Occasion = 'move'): EstateStep[] =>
  [...new Set(deps.names.map(({ server }) => server))].flatMap(server => [
    certificateStep(deps, server, occasion),
    giveStep(deps, server),
  ])

/** Proofs of ours that stand in the zone: what a killed run left, or what is under way. */
export const challengesAt = (estate: string, names: readonly string[], records: readonly DnsRecord[]): DnsRecord[] =>
  records.filter(
    record => record.type === 'TXT' && isMarked(record, estate) && names.some(name => record.name === `_acme-challenge.${name}`),
  )

/** A certificate for all names of the server is in the estate's directory, and no proof is left in the zone. */
export function certificateStep(deps: CutoverDeps, server: string, occasion: Occasion = 'move'): EstateStep {
  const names = namesFor(deps, server)
  const order = { kind: 'create', summary: `order a certificate for ${names.join(', ')}, proved by DNS` } as const
  return {
    id: `move certificate ${server}`,
    noun: 'dns',
    title: `a certificate for ${names.join(', ')} is in hand`,
    needs: [occasion === 'move' ? 'move snapshot' : 'zone'],
    reads: ['records', 'servers', 'moves', 'certificates', 'zone', 'arrivals'],
    typicalMs: 20_000,
    look(world) {
      const isSnapped = deps.names.every(({ name }) => isOpen(world.get('moves')[name]))
      if (occasion === 'move' && !isSnapped) return blocked('the snapshot', order)
      const facts = world.get('certificates')[server]
      if (facts === undefined) return blocked(`server ${server}`, order)
      const left = challengesAt(deps.estate.name, names, world.get('records'))
      if (facts.stored === 'good') {
        if (left.length === 0)
          return done(facts.notAfterMs ? `valid until ${new Date(facts.notAfterMs).toISOString().slice(0, 10)}` : 'valid')
        return todo({
          kind: 'change',
          summary: `take the ${left.length} proofs for the certificate out of the zone`,
          apply: async ({ world: live }) => removeProofs(deps, live, left),
        })
      }
      const forbidden = names.flatMap(name => world.get('arrivals')[name]?.caa.now ?? []).find(each => each.state === 'forbidden')
      if (forbidden?.state === 'forbidden') return refused(`${forbidden.why}.`, forbidden.hint)
      if (facts.budget.state === 'spent' && facts.stored !== 'unfinished')
        return refused(
          `No certificate can be ordered: ${facts.budget.why}.`,
          `Wait until ${new Date(facts.budget.nextAtMs).toISOString().slice(0, 16)}Z.`,
        )
      return todo({
        ...order,
        summary: facts.stored === 'unfinished' ? `finish the order of a certificate for ${names.join(', ')}` : order.summary,
        details: [
          ...(facts.budget.state === 'enough' ? [`${facts.budget.left} more fit into the authority's limits`] : []),
          `TXT records ${names.map(name => `_acme-challenge.${name}`).join(', ')} for as long as it takes`,
        ],
        apply: ({ world: live, signal, log }) => obtain(deps, server, live, signal, log),
      })
    },
  }
}

async function obtain(
  deps: CutoverDeps,
  server: string,
  live: World<EstateWorld>,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<void> {
  const { store, clock } = deps
  const acme = await deps.acme()
  const names = namesFor(deps, server)
  const budget = live.get('certificates')[server]?.budget
  if (budget?.state === 'spent') throw new LandfallError('limit', `No certificate is ordered: ${budget.why}.`)
  const add = (event: 'ordered' | 'finalized' | 'failed' | 'account', which: readonly string[]) =>
    store.addOrder({ atMs: clock.nowMs(), event, directory: acme.directory, names: which })

  await acme.openAccount(deps.email)
  const kept = await store.readCertificate(server)
  const resumed =
    kept?.orderUrl !== undefined &&
    kept.certificate === undefined &&
    kept.directory === acme.directory &&
    kept.names.join() === names.join()
      ? await acme.findOrder(kept.orderUrl)
      : undefined
  let order = resumed !== undefined && resumed.state !== 'invalid' ? resumed : undefined
  let stored: StoredCertificate
  if (order && kept) stored = kept
  else {
    await add('ordered', names)
    order = await acme.createOrder(names)
    stored = {
      server,
      names,
      directory: acme.directory,
      orderUrl: order.url,
      privateKey: deps.makeKey(`key of the certificate of ${server}`),
    }
    // The key is on disk before the authority can issue for it.
    await store.writeCertificate(stored)
  }

  if (order.state === 'pending') order = await prove(deps, acme, order, server, live, signal, log, which => add('failed', which))
  if (order.state === 'ready') {
    await add('finalized', names)
    await acme.finalizeOrder(order, stored.privateKey)
  }
  order = await waitOrder(deps, acme, order, ['valid'], signal)
  const certificate = await acme.downloadCertificate(order)
  const pem = readPem(certificate)
  if (!pem || !names.every(name => pem.covers(name)))
    throw new LandfallError('vendor', `The certificate authority's certificate does not cover ${names.join(', ')}.`)
  await store.writeCertificate({ ...stored, certificate })
  live.update('certificates', all => {
    const before = all[server]
    return before ? { ...all, [server]: { ...before, stored: 'good', given: 'no', notAfterMs: pem.notAfterMs } } : all
  })
}

/** Puts the proofs into the zone, sees them at every name server, has them looked at. They are taken out again by the step's next round. */
async function prove(
  deps: CutoverDeps,
  acme: Acme,
  order: AcmeOrder,
  server: string,
  live: World<EstateWorld>,
  signal: AbortSignal,
  log: (line: string) => void,
  failed: (names: readonly string[]) => Promise<void>,
): Promise<AcmeOrder> {
  const { dns, outside, clock, estate } = deps
  const zone = live.get('zone')
  const found = findServer(estate.name, server, live.get('servers'))
  if (!zone || !found) throw new Error('bug: a certificate without a zone or a server')
  const open = order.challenges.filter(challenge => challenge.state === 'pending' || challenge.state === 'processing')
  const comment = renderRecordMark({ estate: estate.name, server, serverId: found.id })
  const wanted = open.map(
    (each): WantedRecord => ({
      name: each.recordName,
      type: 'TXT',
      content: each.recordValue,
      ttl: CHALLENGE_TTL_S,
      proxied: false,
      comment,
    }),
  )
  const standing = challengesAt(estate.name, order.names, live.get('records'))
  const isWanted = (record: DnsRecord) => wanted.some(each => each.name === record.name && each.content === record.content)
  const missing = wanted.filter(each => !standing.some(record => record.name === each.name && record.content === each.content))
  const stale = standing.filter(record => !isWanted(record))
  if (missing.length + stale.length > 0)
    await dns.changeRecords(zone.id, { deletes: stale.map(({ id }) => ({ id })), patches: [], posts: missing })
  await relookRecords(live)

  const endsAtMs = clock.monotonicMs() + RECORD_TIMEOUT_MS
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
  for (const challenge of open.filter(each => each.state === 'pending')) await acme.answerChallenge(challenge)
  log('the certificate authority looks at the proofs')
  const next = await waitOrder(deps, acme, order, ['ready', 'processing', 'valid', 'invalid'], signal)
  if (next.state !== 'invalid') return next
  const bad = next.challenges.filter(challenge => challenge.state === 'invalid')
  await failed(bad.length > 0 ? bad.map(challenge => challenge.name) : order.names)
  await removeProofs(deps, live, challengesAt(estate.name, order.names, await relookRecords(live)))
  throw new LandfallError('forbidden', `The certificate authority did not accept the proof${next.why ? `: ${next.why}` : ''}.`, {
    hint: 'Nothing was switched. Mend what it names, then run the same command again; five failures in an hour are the limit.',
  })
}

const relookRecords = async (live: World<EstateWorld>): Promise<readonly DnsRecord[]> => {
  live.touch('records')
  await live.look(['records'])
  return live.get('records')
}

async function removeProofs(deps: CutoverDeps, live: World<EstateWorld>, proofs: readonly DnsRecord[]): Promise<void> {
  const zone = live.get('zone')
  if (!zone || proofs.length === 0) return
  await deps.dns.changeRecords(zone.id, { deletes: proofs.map(({ id }) => ({ id })), patches: [], posts: [] })
  const gone = new Set(proofs.map(({ id }) => id))
  live.update('records', all => all.filter(record => !gone.has(record.id)))
}

async function waitOrder(
  { clock }: CutoverDeps,
  acme: Acme,
  order: AcmeOrder,
  states: readonly AcmeOrder['state'][],
  signal: AbortSignal,
): Promise<AcmeOrder> {
  const endsAtMs = clock.monotonicMs() + ORDER_TIMEOUT_MS
  for (;;) {
    const now = await acme.findOrder(order.url)
    if (now === undefined) throw new LandfallError('not_found', 'The certificate authority knows the order no more.')
    if (states.includes(now.state)) return now
    if (now.state === 'invalid')
      throw new LandfallError('forbidden', `The certificate authority gave the order up${now.why ? `: ${now.why}` : ''}.`)
    if (clock.monotonicMs() >= endsAtMs)
      throw new LandfallError(
        'timeout',
        `The certificate authority has not finished the order within ${ORDER_TIMEOUT_MS / 60_000} minutes.`,
        {
          hint: 'Run the same command again: it goes on with the same order.',
        },
      )
    await clock.sleep(POLL_MS, signal)
  }
}

/** The server's Traefik holds the certificate. */
export function giveStep(deps: CutoverDeps, server: string): EstateStep {
  const names = namesFor(deps, server)
  const give = { kind: 'create', summary: `give the certificate to Traefik on ${server}` } as const
  return {
    id: `move certificate ${server} given`,
    noun: 'dns',
    title: `Traefik on ${server} has the certificate for ${names.join(', ')}`,
    needs: [`move certificate ${server}`],
    reads: ['certificates', 'servers', 'moves'],
    look(world) {
      const facts = world.get('certificates')[server]
      if (facts === undefined || facts.stored === 'absent' || facts.stored === 'unfinished')
        return blocked('the certificate', give)
      if (facts.given === 'yes') return done('given through Dokploy')
      if (facts.given === 'no_panel')
        return done(`no Dokploy there; it lies in ${deps.store.directory}/certificates/${server}.json`)
      return todo({
        ...give,
        async apply({ world: live }) {
          const stored = await deps.store.readCertificate(server)
          const panel = await openPanel(deps, server, live.get('servers'))
          if (stored?.certificate === undefined)
            throw new LandfallError('not_found', `The certificate of ${server} is no longer in ${deps.store.directory}.`)
          if (panel === 'unreachable')
            throw new LandfallError('unhealthy', `Dokploy on ${server} can't be reached with a login of ours.`, {
              hint: 'bun scripts/dokploy.ts --plan',
            })
          if (panel !== 'no_panel')
            await panel.dokploy.installCertificate(panel.apiKey, {
              name: `landfall ${deps.estate.name}`,
              certificate: stored.certificate,
              privateKey: stored.privateKey,
            })
          live.update('certificates', all => {
            const before = all[server]
            return before ? { ...all, [server]: { ...before, given: panel === 'no_panel' ? 'no_panel' : 'yes' } } : all
          })
        },
      })
    },
  }
}
