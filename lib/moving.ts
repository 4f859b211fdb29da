/** The commands of a move: certificate, cutover, rollback. Joins what they need and shows what they find. */

import { readFileSync } from 'node:fs'
import { findUnfilled } from './apps/unfilled.ts'
import { composeCloud } from './compose.ts'
import { converge } from './converge.ts'
import { isOpen } from './cutover/move.ts'
import { isBelow, oldAnswersText } from './cutover/observe.ts'
import { type MoveStore, openMoveStore, readMoves } from './cutover/store.ts'
import { clockText } from './cutover/ttl.ts'
import type { Clock } from './engine/clock.ts'
import { LandfallError } from './errors.ts'
import type { MovingName } from './estate/migration.ts'
import { flagValues, type Opened, type Session } from './script.ts'
import { cutoverSteps } from './steps/cutover.ts'
import { certificateSteps } from './steps/cutover-certificate.ts'
import { type CutoverDeps, cutoverReaders } from './steps/cutover-world.ts'
import { zoneStep } from './steps/dns.ts'
import { rollbackSteps } from './steps/rollback.ts'

export const MOVE_FLAGS = [
  { name: 'to', value: 'SERVER', about: 'where the names shall go, instead of what config.json says (cutover)' },
  { name: 'for', value: 'MINUTES', about: 'how long nobody may be seen at the old host (decommission)' },
] as const

/** The clock for waits of minutes: in a rehearsal the sandbox's time passes instead of the operator's. */
export async function openWaits({ composition }: Pick<Opened, 'composition'>): Promise<Clock> {
  const { internet } = composition.parts.environment
  if (!internet) return composition.deps.clock
  const { sandboxClock } = await import('./sandbox-time.ts')
  return sandboxClock(`http://${internet.host}:${internet.port}`)
}

/** The move's parts over an opened estate, for the names that were given or all that config.json moves. */
export async function openMoving(session: Pick<Session, 'args'>, opened: Opened): Promise<CutoverDeps> {
  const { composition, estate, directory } = opened
  const { context, environment } = composition.parts
  const store = openMoveStore(directory)
  const [to] = flagValues(session, 'to')
  const { names, allNames: wanted } = chooseNames(opened, session.args.names, to)
  const allNames = [...wanted, ...(await findMoved(store, wanted))]
  const email = estate.servers.find(each => each.dokploy)?.dokploy?.adminEmail ?? `admin@${estate.dns?.zone ?? ''}`
  const { generateKey } = await import('./providers/acme/keys.ts')
  let acme: ReturnType<CutoverDeps['acme']> | undefined
  const waits = await openWaits(opened)
  return {
    ...composition.deps,
    names,
    allNames,
    store,
    email,
    waits,
    unfilled: findUnfilled(estate, opened.configPath),
    makeKey: generateKey,
    acme() {
      acme ??= import('./providers/acme/acme.ts').then(async ({ createAcme, LETSENCRYPT_DIRECTORY }) => {
        const directoryUrl = environment.acmeDirectoryUrl ?? LETSENCRYPT_DIRECTORY
        return createAcme({
          directory: directoryUrl,
          accountKey: () => store.accountKey(new URL(directoryUrl).href, () => generateKey('ACME account key')),
          ...(environment.caFile ? { caPem: readFileSync(environment.caFile, 'utf8') } : {}),
          context,
        })
      })
      return acme
    },
  }
}

/** What moved by an earlier command and stands in no config: it shares its server's certificate, which is for all names that went there. */
async function findMoved(store: Pick<MoveStore, 'listMoves' | 'readMove'>, wanted: readonly MovingName[]): Promise<MovingName[]> {
  const moves = Object.values(await readMoves(store)).filter(isOpen)
  const others = moves.filter(({ name }) => !wanted.some(each => each.name === name))
  return others.map(({ name, path, to }) => ({ name, kind: 'frontend', path, routes: [path], server: to.server }))
}

/** @throws LandfallError usage | config */
function chooseNames(
  { estate, configPath }: Pick<Opened, 'estate' | 'configPath'>,
  given: readonly string[],
  to: string | undefined,
): Pick<CutoverDeps, 'names' | 'allNames'> {
  const configured = estate.migration?.names ?? []
  const zone = estate.dns?.zone
  if (zone === undefined)
    throw new LandfallError('config', `${configPath} names no zone, so no name can move.`, { hint: 'Add dns.domain to it.' })
  if (to !== undefined && !estate.servers.some(each => each.name === to))
    throw new LandfallError('usage', `There is no server "${to}" in ${configPath}.`, {
      hint: `It is one of: ${estate.servers.map(each => each.name).join(', ')}.`,
    })
  const wanted = given.length > 0 ? given.map(each => each.toLowerCase().replace(/\.$/, '')) : configured.map(each => each.name)
  if (wanted.length === 0)
    throw new LandfallError('usage', 'No name was given, and config.json moves none.', {
      hint: 'Name them: bun scripts/dns.ts cutover www.example.com --to prod-dokploy  — or list them in config.json under migration.names.',
    })
  const names = wanted.map((name): MovingName => {
    if (!isBelow(name, zone))
      throw new LandfallError('usage', `${name} is not in the zone ${zone}.`, {
        hint: `Names are given whole: www.${zone}`,
      })
    const known = configured.find(each => each.name === name)
    if (known === undefined && to === undefined)
      throw new LandfallError('usage', `config.json does not say where ${name} shall go.`, {
        hint: `Say it: --to ${estate.servers[0]?.name ?? 'SERVER'}`,
      })
    return {
      ...(known ?? { name, kind: 'frontend', path: '/', routes: ['/'], server: '' }),
      ...(to === undefined ? {} : { server: to }),
    }
  })
  return { names, allNames: [...configured.filter(each => !wanted.includes(each.name)), ...names] }
}

const withReaders = (opened: Opened, deps: CutoverDeps): Opened => ({
  ...opened,
  composition: { ...opened.composition, readers: { ...opened.composition.readers, ...cutoverReaders(deps) } },
})

export async function cutover(session: Session, opened: Opened): Promise<number> {
  const deps = await openMoving(session, opened)
  return converge(session, withReaders(opened, deps), {
    steps: () => cutoverSteps(deps),
    partial: true,
    confirmName: opened.estate.dns?.zone ?? opened.estate.name,
    report: world => {
      const moves = Object.values(world.get('moves'))
      const configured = opened.estate.migration?.names ?? []
      return {
        outputs: Object.fromEntries(moves.map(move => [move.name, move.to.ipv4 ?? move.to.ipv6 ?? ''])),
        notes: [
          ...moves.map(move => ({ label: 'dns', text: oldAnswersText(move, deps.waits.nowMs()) })),
          ...Object.entries(world.get('certificates')).flatMap(([server, { notAfterMs }]) =>
            notAfterMs === undefined
              ? []
              : [
                  {
                    label: 'certificate',
                    text: `of ${server} until ${new Date(notAfterMs).toISOString().slice(0, 10)}; the same command renews it from 30 days before`,
                  },
                ],
          ),
          ...configured
            .filter(({ name, server }) => deps.names.some(each => each.name === name && each.server !== server))
            .map(({ name, server }) => ({
              label: 'config',
              text: `${opened.configPath} sends ${name} to ${server}: change it there too, or a cutover without --to moves it back`,
            })),
          { label: 'undo', text: `bun scripts/dns.ts rollback ${deps.names.map(({ name }) => name).join(' ')}` },
          {
            label: 'kept',
            text: `the records from before, in ${deps.store.directory}/moves: keep them until the old host is gone`,
          },
        ],
        next: 'bun scripts/dns.ts decommission',
      }
    },
  })
}

/** Certificates for the names, ahead of deploys and of the move itself; also what renews them. */
export async function certificates(session: Session, opened: Opened): Promise<number> {
  const deps = await openMoving(session, opened)
  return converge(session, withReaders(opened, deps), {
    steps: () => [zoneStep(deps), ...certificateSteps(deps, 'alone')],
    partial: true,
    report: () => ({ next: `bun scripts/dns.ts cutover --plan` }),
  })
}

export async function rollback(session: Session, opened: Opened): Promise<number> {
  const store = openMoveStore(opened.directory)
  const given = session.args.names.map(each => each.toLowerCase())
  const names = given.length > 0 ? given : await store.listMoves()
  if (names.length === 0)
    throw new LandfallError('not_found', `No move is kept in ${store.directory}/moves.`, { hint: 'Nothing was moved from here.' })
  const { context, environment } = opened.composition.parts
  const waits = await openWaits(opened)
  const deps = { ...opened.composition.deps, names, store, waits }
  // An adapter of its own, whose repeats end when the cloud is given up: the lock's requests heed no signal, their pauses do.
  const patience = new AbortController()
  const sleep: Clock['sleep'] = (ms, signal) =>
    context.clock.sleep(ms, AbortSignal.any([patience.signal, ...(signal ? [signal] : [])]))
  const impatient = { ...context, clock: { ...context.clock, sleep } }
  const { locks } = await composeCloud(opened.estate, environment, impatient, opened.directory)
  const moves = () => readMoves(store, names)
  return converge(
    session,
    {
      ...opened,
      composition: { ...opened.composition, locks, readers: { ...opened.composition.readers, moves } },
    },
    {
      steps: () => rollbackSteps(deps),
      partial: true,
      withoutLock: () => patience.abort(),
      report: world => ({
        notes: Object.values(world.get('moves')).map(move => ({
          label: 'dns',
          text: `${move.name} is as it was on ${clockText(move.takenAtMs, 0)}; answers of the new place may live until ${clockText((move.marks.rolledBackAtMs ?? deps.waits.nowMs()) + Math.max(move.finalTtlS, move.switchTtlS) * 1000, deps.waits.nowMs())}`,
        })),
      }),
    },
  )
}
