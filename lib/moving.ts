/** The commands of a move: cutover, watch, rollback, decommission. Joins what they need and shows what they find. */

import { readFileSync } from 'node:fs'
import { converge } from './converge.ts'
import { isOpen, type Marks, type Move } from './cutover/move.ts'
import { findOldHost, isBelow, judgeArrival, judgeDecommission, type OldHost, oldAnswersText } from './cutover/observe.ts'
import { openMoveStore } from './cutover/store.ts'
import { clockText, spanText } from './cutover/ttl.ts'
import type { Clock } from './engine/clock.ts'
import { LandfallError } from './errors.ts'
import type { MovingName } from './estate/migration.ts'
import type { DnsRecord } from './providers/ports/dns.ts'
import { flagValues, type Opened, type Session } from './script.ts'
import { cutoverSteps } from './steps/cutover.ts'
import { certificateSteps } from './steps/cutover-certificate.ts'
import { type CutoverDeps, cutoverReaders, observe } from './steps/cutover-world.ts'
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
  const { names, allNames } = chooseNames(opened, session.args.names, to)
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
    if (!isBelow(name, zone)) throw new LandfallError('usage', `${name} is not in the zone ${zone}.`)
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
  const { environment } = opened.composition.parts
  const waits = await openWaits(opened)
  const deps = { ...opened.composition.deps, names, store, waits }
  // An adapter of its own, whose repeats end when the cloud is given up.
  const patience = new AbortController()
  const { context } = opened.composition.parts
  const { createHetzner } = await import('./providers/hetzner/hetzner.ts')
  const locks = environment.hcloudToken
    ? createHetzner({
        token: environment.hcloudToken,
        context: { ...context, signal: AbortSignal.any([context.signal, patience.signal]) },
        ...(environment.hcloudEndpoint ? { endpoint: environment.hcloudEndpoint } : {}),
      }).locks
    : opened.composition.locks
  const readMoves = async () =>
    Object.fromEntries(
      (await Promise.all(names.map(async name => [name, await store.readMove(name)] as const))).flatMap(([name, move]) =>
        move ? [[name, move]] : [],
      ),
    )
  return converge(
    session,
    {
      ...opened,
      composition: { ...opened.composition, locks, readers: { ...opened.composition.readers, moves: readMoves } },
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

/** Looks until everybody has arrived, or says who has not. */
export async function watch(session: Session, opened: Opened): Promise<number> {
  const deps = await openMoving(session, opened)
  const { reporter, signal } = session
  const moves = await keptMoves(deps)
  for (let round = 1; ; round++) {
    const nowMs = deps.waits.nowMs()
    const seen = await Promise.all(moves.map(async move => ({ move, ...judgeArrival(move, await observe(deps, move)) })))
    const lines = seen.flatMap(({ move, state, lines: why }) => [
      `${move.name}: ${state === 'arrived' ? 'everybody sees the new place' : state === 'partly' ? 'some caches still give the old place' : 'not at the new place'}; ${oldAnswersText(move, nowMs)}`,
      ...why.map(each => `  ${each}`),
    ])
    reporter.page(lines.join('\n'), {
      round,
      names: seen.map(({ move, state, lines: why }) => ({ name: move.name, state, why })),
    })
    if (seen.every(({ state }) => state === 'arrived')) return 0
    // Nothing of what is wrong mends itself by waiting longer than the caches may live.
    if (session.args.plan || seen.some(({ state }) => state === 'wrong')) return session.args.plan ? 2 : 1
    await deps.waits.sleep(WATCH_PAUSE_MS, signal)
  }
}

const WATCH_PAUSE_MS = 10_000
const DECOMMISSION_PAUSE_MS = 60_000
/** Longer without a look, and the proof begins anew. */
const LONGEST_GAP_MS = 15 * 60_000

async function keptMoves(deps: CutoverDeps): Promise<Move[]> {
  const moves = await Promise.all(deps.names.map(({ name }) => deps.store.readMove(name)))
  const missing = deps.names.filter((_, index) => !isOpen(moves[index]))
  if (missing.length > 0)
    throw new LandfallError('not_found', `${missing.map(({ name }) => name).join(', ')} did not move from here.`, {
      hint: 'bun scripts/dns.ts cutover --plan',
    })
  return moves.filter(isOpen)
}

/** Proves that nobody reaches the old host any more, for as long as was asked, then says what to remove there. */
export async function decommission(session: Session, opened: Opened): Promise<number> {
  const deps = await openMoving(session, opened)
  const { reporter, signal } = session
  const { migration, dns } = opened.estate
  const [minutes] = flagValues(session, 'for')
  const quietForMs = minutes === undefined ? (migration?.quietForMs ?? 86_400_000) : parseMinutes(minutes) * 60_000
  let moves = await keptMoves(deps)
  let shown = ''
  for (;;) {
    const nowMs = deps.waits.nowMs()
    const records = await readZone(deps, dns?.zone ?? '')
    const looked = await Promise.all(
      moves.map(async move => {
        const old = oldHostOf(opened, moves)
        const signs = [...findOldHost(move, await observe(deps, move), old), ...findOldRecords(records, move, old)]
        return { move: noteLook(move, signs, nowMs), signs }
      }),
    )
    for (const { move } of looked) await deps.store.writeMove(move)
    moves = looked.map(({ move }) => move)
    const verdicts = looked.map(({ move, signs }) => ({ move, verdict: judgeDecommission(move, signs, quietForMs, nowMs) }))
    const lines = verdicts.flatMap(({ move, verdict }) => describeVerdict(move, verdict, nowMs))
    // A day of looks is one line when nothing changes.
    const states = verdicts.map(({ verdict }) => verdict.state).join()
    if (states !== shown)
      reporter.page(lines.join('\n'), { names: verdicts.map(({ move, verdict }) => ({ name: move.name, ...verdict })) })
    shown = states
    if (verdicts.every(({ verdict }) => verdict.state === 'proven')) {
      reporter.page(whatToRemove(opened, moves).join('\n'), { remove: whatToRemove(opened, moves) })
      return 0
    }
    if (verdicts.some(({ verdict }) => verdict.state === 'in_use')) return 1
    if (session.args.plan) return 2
    const waitMs = Math.max(...verdicts.map(({ verdict }) => pauseFor(verdict, nowMs)))
    await deps.waits.sleep(waitMs, signal)
  }
}

const parseMinutes = (text: string): number => {
  const minutes = Number(text)
  if (Number.isFinite(minutes) && minutes > 0 && minutes <= 43_200) return minutes
  throw new LandfallError('usage', '--for wants minutes between 1 and 43200.')
}

const pauseFor = (verdict: ReturnType<typeof judgeDecommission>, nowMs: number): number => {
  if (verdict.state === 'too_early') return Math.max(1_000, verdict.untilMs - nowMs)
  if (verdict.state === 'quiet') return Math.min(DECOMMISSION_PAUSE_MS, Math.max(1_000, verdict.leftMs))
  return 1_000
}

/** One more look, kept with the move: a sign of the old host, or a long gap, begins the count anew. */
function noteLook(move: Move, signs: readonly string[], nowMs: number): Move {
  const { quietSinceMs: _since, quietSeenAtMs: _seen, ...rest } = move.marks
  if (signs.length > 0) return { ...move, marks: rest }
  const gap = nowMs - (move.marks.quietSeenAtMs ?? Number.NEGATIVE_INFINITY)
  const quietSinceMs = gap > LONGEST_GAP_MS ? nowMs : (move.marks.quietSinceMs ?? nowMs)
  const marks: Marks = { ...rest, quietSinceMs, quietSeenAtMs: nowMs }
  return { ...move, marks }
}

const oldHostOf = ({ estate }: Pick<Opened, 'estate'>, moves: readonly Move[]): OldHost => ({
  addresses: moves
    .flatMap(move => move.oldAddresses)
    .filter(each => !moves.some(({ to }) => each === to.ipv4 || each === to.ipv6)),
  domains: [
    ...(estate.migration?.oldHost.domains ?? []),
    ...moves.flatMap(move => move.before.flatMap(record => (record.type === 'CNAME' ? [record.content] : []))),
  ],
  headers: estate.migration?.oldHost.headers ?? [],
})

async function readZone(deps: CutoverDeps, domain: string): Promise<readonly DnsRecord[]> {
  const zone = await deps.dns.findZone(domain)
  if (!zone) throw new LandfallError('not_found', `The Cloudflare token sees no zone for ${domain}.`)
  return deps.dns.listRecords(zone.id)
}

/** Records of the name, in the zone itself, that still lead to the old host. */
const findOldRecords = (records: readonly DnsRecord[], move: Move, old: OldHost): string[] =>
  records
    .filter(
      record =>
        record.name === move.name &&
        (old.addresses.includes(record.content) || old.domains.some(domain => isBelow(record.content, domain))),
    )
    .map(record => `the zone holds ${record.name} ${record.type} ${record.content}`)

const describeVerdict = (move: Move, verdict: ReturnType<typeof judgeDecommission>, nowMs: number): string[] => {
  switch (verdict.state) {
    case 'too_early':
      return [`${move.name}: ${verdict.why}`]
    case 'in_use':
      return [`${move.name} still needs the old host:`, ...verdict.signs.map(sign => `  ${sign}`)]
    case 'quiet':
      return [
        `${move.name}: nobody at the old host since ${clockText(verdict.sinceMs, nowMs)}; ${spanText(verdict.leftMs)} to go`,
      ]
    case 'proven':
      return [`${move.name}: nobody at the old host since ${clockText(verdict.sinceMs, nowMs)}: proved`]
  }
}

function whatToRemove({ estate, directory }: Opened, moves: readonly Move[]): string[] {
  const host = estate.migration?.oldHost.name ?? 'the old host'
  return [
    `What can go now:`,
    ...moves.map(move => `  at ${host}: the domain ${move.name}, then the project that served it`),
    `  at ${host}: its variables, tokens and webhooks, and the subscription if nothing else needs it`,
    `  at GitHub: the deploy integration of ${host}, if it was installed`,
    `  in the zone: verification TXT records of ${host}`,
    `  here, last of all: ${directory}/moves — without it there is no way back`,
  ]
}
