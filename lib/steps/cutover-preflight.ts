/** Before the first change: what would make the move fail later, and what stood there before, kept on disk. */

import { describeRecord, findLeftovers, strangersAt } from '../cutover/changes.ts'
import { addressRecordsOf, hasArrived, isOpen, type Move } from '../cutover/move.ts'
import { longestTtlS } from '../cutover/ttl.ts'
import { blocked, type Change, done, refused, todo } from '../engine/step.ts'
import type { WorldView } from '../engine/world.ts'
import type { MovingName } from '../estate/migration.ts'
import { findMove, keep, listed, replyText } from './cutover-kit.ts'
import { type CutoverDeps, isReplyServed } from './cutover-world.ts'
import type { EstateStep } from './deps.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

/** Everything that would make the move fail later, found before the first write. */
export function preflightStep(deps: CutoverDeps): EstateStep {
  return {
    id: 'move preflight',
    noun: 'dns',
    title: `${listed(deps)} can move without a hole`,
    needs: ['zone'],
    reads: ['zone', 'records', 'servers', 'moves', 'arrivals', 'certificates'],
    look(world) {
      const problems = deps.names.flatMap(moving => findProblems(deps, moving, world))
      const [first] = problems
      if (first === undefined) return done('the new place answers, CAA allows, nothing is left over')
      return refused(problems.map(({ why }) => `${why}.`).join(' '), first.hint)
    },
  }
}

interface Problem {
  readonly why: string
  readonly hint: string
}

/** Pure. Empty when the name may move, or has moved. */
export function findProblems(deps: CutoverDeps, moving: MovingName, world: WorldView<EstateWorld>): Problem[] {
  const { estate } = deps
  const { name } = moving
  const server = findServer(estate.name, moving.server, world.get('servers'))
  if (hasArrived(world.get('moves')[name], server)) return []
  const arrival = world.get('arrivals')[name]
  if (server === undefined || arrival === undefined)
    return [{ why: `server ${moving.server}, where ${name} shall go, is not there`, hint: 'bun scripts/setup.ts' }]
  const problems: Problem[] = []
  const say = (why: string, hint: string) => problems.push({ why, hint })
  const records = world.get('records')
  const zone = world.get('zone')

  const expected = zone?.nameservers ?? []
  if (zone && !expected.some(each => arrival.delegation.includes(each)))
    say(
      `the parent of ${zone.name} names ${arrival.delegation.join(', ') || 'no name servers'}, not ${expected.join(' and ')}`,
      'Set the zone’s name servers at the registrar, and wait until they are seen.',
    )
  for (const leftover of findLeftovers({ name }, records))
    say(leftover, 'Remove it at Cloudflare; the move touches addresses only.')
  for (const { app, file, names } of deps.unfilled.filter(each => each.hosts.includes(name)))
    say(
      `the app ${app}, which serves ${name}, lacks ${names.join(', ')}: the old host did not give their values`,
      `Fill them in by hand in ${file}, then: bun scripts/env.ts push ${app}`,
    )
  const found = findMove(deps, moving, world)
  // One that was switched is over; from where it leads the name moves on.
  if (found && found.move.marks.switchedAtMs === undefined) {
    const { move, aim } = found
    if (aim === 'elsewhere')
      say(
        `the move of ${name} began towards another server (${move.to.server}, id ${move.to.serverId}, ${move.to.ipv4 ?? move.to.ipv6})`,
        `bun scripts/dns.ts rollback ${name}`,
      )
    const strangers = deps.takeOver.includes(name) ? [] : strangersAt(move, records)
    if (strangers.length > 0)
      say(
        `${name} was changed by somebody else since the move began: ${strangers.map(describeRecord).join(', ')}`,
        `If it may be replaced: bun scripts/dns.ts cutover --take-over ${name}`,
      )
  }
  const ipv4 = arrival.probes.find(each => each.family === 'ipv4')
  if (ipv4 === undefined) say(`server ${moving.server} has no IPv4 address`, 'Give it one: ipv4 in config.json.')
  else if (!isReplyServed(ipv4.http) && !isReplyServed(ipv4.https))
    say(
      `${moving.server} (${ipv4.address}) does not serve ${name}${moving.path}: ${replyText(ipv4.http)}`,
      `Deploy it there with the domain ${name}, then try: curl --resolve ${name}:80:${ipv4.address} http://${name}${moving.path}`,
    )
  const certificate = world.get('certificates')[moving.server]
  const needsOrder = certificate !== undefined && (certificate.stored === 'absent' || certificate.stored === 'ending')
  if (arrival.caa.after.state === 'forbidden') say(arrival.caa.after.why, arrival.caa.after.hint)
  else if (needsOrder && arrival.caa.now.state === 'forbidden') say(arrival.caa.now.why, arrival.caa.now.hint)
  if (needsOrder && certificate.budget.state === 'spent')
    say(
      `a certificate for ${moving.server} can't be ordered: ${certificate.budget.why}`,
      `Wait until ${new Date(certificate.budget.nextAtMs).toISOString().slice(0, 16).replace('T', ' ')} UTC, or restore a saved certificate.`,
    )
  return problems
}

/** What stood there before is on disk before anything changes. */
export function snapshotStep(deps: CutoverDeps): EstateStep {
  return {
    id: 'move snapshot',
    noun: 'dns',
    title: `the records of ${listed(deps)} are kept for the way back`,
    needs: ['move preflight'],
    reads: ['zone', 'records', 'servers', 'moves', 'arrivals'],
    look(world) {
      const missing = deps.names.filter(moving => (findMove(deps, moving, world)?.aim ?? 'elsewhere') === 'elsewhere')
      const remade = deps.names.flatMap(moving => {
        const { move, to, aim } = findMove(deps, moving, world) ?? {}
        return move && to && aim === 'remade' ? [{ ...move, to: { ...move.to, serverId: to.id } }] : []
      })
      const servers = [...new Set(remade.map(({ to }) => to.server))].join(', ')
      const note: Change<EstateWorld> = {
        kind: 'change',
        summary: `note that ${servers} ${servers.includes(',') ? 'were' : 'was'} made anew with the same addresses`,
        async apply({ world: live }) {
          for (const move of remade) await keep(deps, live, move)
        },
      }
      const notes = remade.length === 0 ? [] : [note]
      if (missing.length === 0) return remade.length === 0 ? done(`${deps.store.directory}/moves`) : todo(note)
      const records = missing.flatMap(({ name }) => addressRecordsOf(world.get('records'), name))
      const summary = `keep the ${records.length} records of ${missing.map(({ name }) => name).join(', ')} in ${deps.store.directory}/moves`
      const ready = missing.every(({ name }) => world.get('arrivals')[name] !== undefined)
      if (!ready || !world.get('zone')) return blocked('the preflight', ...notes, { kind: 'create', summary })
      return todo(...notes, {
        kind: 'create',
        summary,
        details: [
          ...records.map(record => `${record.name} ${describeRecord(record)}`),
          ...missing
            .flatMap(({ name }) => world.get('moves')[name] ?? [])
            .filter(isOpen)
            .map(({ name, to }) => `the move of ${name} to ${to.server} (${to.ipv4 ?? to.ipv6}) is over; its file is put aside`),
        ],
        async apply({ world: live }) {
          for (const moving of missing) {
            const before = live.get('moves')[moving.name]
            if (before) await deps.store.archiveMove(before)
            await keep(deps, live, desiredMove(deps, moving, live))
          }
        },
      })
    },
  }
}

/** A move as it begins. IPv6 is taken along when the new place answers there; an AAAA of the old one goes in any case. */
export function desiredMove(deps: CutoverDeps, moving: MovingName, world: WorldView<EstateWorld>): Move {
  const { estate } = deps
  const zone = world.get('zone')
  const server = findServer(estate.name, moving.server, world.get('servers'))
  const arrival = world.get('arrivals')[moving.name]
  if (!zone || !server || !arrival) throw new Error('bug: a snapshot without its preflight')
  const before = addressRecordsOf(world.get('records'), moving.name)
  const answers = (family: 'ipv4' | 'ipv6') =>
    arrival.probes.find(each => each.family === family && (isReplyServed(each.http) || isReplyServed(each.https)))?.address
  const [ipv4, ipv6] = [answers('ipv4'), answers('ipv6')]
  const addresses = before.flatMap(record => (record.type === 'CNAME' ? [] : [record.content]))
  return {
    version: 1,
    estate: estate.name,
    zone: zone.name,
    zoneId: zone.id,
    name: moving.name,
    takenAtMs: deps.waits.nowMs(),
    to: { server: server.name, serverId: server.id, ...(ipv4 ? { ipv4 } : {}), ...(ipv6 ? { ipv6 } : {}) },
    path: moving.path,
    proxied: before.some(record => record.proxied),
    before,
    // A resolver may still remember a move that was undone.
    oldAddresses: [...new Set([...addresses, ...arrival.oldAddresses])].filter(each => each !== ipv4 && each !== ipv6).sort(),
    oldTtlS: longestTtlS(before, arrival.negativeTtlS),
    switchTtlS: estate.migration?.switchTtlS ?? 60,
    finalTtlS: estate.migration?.ttlS ?? 300,
    marks: {},
  }
}
