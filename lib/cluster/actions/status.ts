/** What people look at in a cluster: its machines and jobs, what the jobs print, and a way to its pages. */

import { World } from '../../engine/world.ts'
import { LandfallError } from '../../errors.ts'
import { flagValues, type Session } from '../../script.ts'
import { variableChanges } from '../../steps/cluster-job.ts'
import { hostOf, secretsOf } from '../../steps/cluster-world.ts'
import { runProgram, targetOf } from '../../steps/machine.ts'
import { findServer } from '../../steps/server.ts'
import type { EstateWorld } from '../../steps/world.ts'
import { hasTag, imageOf, placeRead } from '../job.ts'
import { GRAFANA_PORT, grafanaPassword, MONITORING_JOB, MONITORING_JOBS } from '../monitoring.ts'
import { PARTS } from '../render.ts'
import type { OpenedCluster } from './open.ts'
import { CONSUL_PORT, NOMAD_PORT } from './open.ts'

const EXIT = { done: 0, failed: 1 } as const

async function lookAt({ opened }: OpenedCluster): Promise<World<EstateWorld>> {
  const world = new World(opened.composition.readers)
  await world.look(['servers', 'machines', 'clusterNodes', 'consul', 'nomad'])
  return world
}

const table = (rows: readonly (readonly string[])[]): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map(row => (row[column] ?? '').length)))
  return rows
    .map(row =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** Answers 1 when something is not as wanted. */
export async function showStatus(session: Session, cluster: OpenedCluster): Promise<number> {
  const { deps } = cluster
  const world = await lookAt(cluster)
  const [nodes, consul, nomad] = [world.get('clusterNodes'), world.get('consul'), world.get('nomad')]
  const problems: string[] = []
  const rows = [...deps.cluster.servers, ...deps.cluster.workers].map(name => {
    const node = nodes[name]
    const server = findServer(deps.estate.name, name, world.get('servers'))
    const member = consul.state === 'up' ? (consul.members.find(each => each.name === name)?.state ?? 'unknown') : 'unknown'
    const work = nomad.state === 'up' ? nomad.nodes.find(each => each.name === name && each.status !== 'down') : undefined
    const takes = work ? (work.eligible ? work.status : work.draining ? 'draining' : 'closed') : 'down'
    const role = deps.cluster.servers.includes(name) ? 'server' : 'worker'
    if (!server) problems.push(`${name} does not exist`)
    else if (node?.state !== 'open') problems.push(`${name}: ${node?.why ?? 'unknown'}`)
    else if (member !== 'alive' || takes !== 'ready') problems.push(`${name} is ${member} in Consul and ${takes} in Nomad`)
    return { name, role, address: server?.ipv4 ?? server?.ipv6 ?? '-', consul: member, nomad: takes }
  })
  const quorumLine = (part: string, state: typeof consul | typeof nomad): string => {
    const count = deps.cluster.servers.length
    if (state.state === 'away') problems.push(`${part} does not answer: ${state.why}`)
    else if (!state.leader) problems.push(`${part} has no leader`)
    else if (!state.quorum?.healthy || state.quorum.voters.length < count)
      problems.push(`${part} has ${state.quorum?.voters.length ?? 0} of ${count} voters`)
    return state.state === 'up' && state.quorum ? `${state.quorum.voters.length} of ${count} voters` : 'no quorum'
  }
  const quorums = { consul: quorumLine('Consul', consul), nomad: quorumLine('Nomad', nomad) }
  const api = nomad.state === 'up' && nomad.token === 'known' ? await nomadOf(cluster, world) : undefined
  const jobs = await Promise.all(
    deps.cluster.apps.map(async app => {
      const state = nomad.state === 'up' ? nomad.jobs[app.name] : undefined
      const running =
        state && api ? (await api.listAllocations(app.name)).filter(each => each.wanted && each.state === 'running').length : 0
      const ended = state?.job.stable ? 'successful' : 'unknown'
      const rollout = state ? (state.deployment?.status ?? ended) : 'not deployed'
      if (running < app.replicas) problems.push(`${app.name}: ${running} of ${app.replicas} instances run`)
      if (state && hasTag(imageOf(app)) && state.job.image !== imageOf(app))
        problems.push(`${app.name} runs ${state.job.image}; config.json says ${imageOf(app)}`)
      return { name: app.name, instances: `${running} of ${app.replicas}`, rollout, image: state?.job.image ?? '-' }
    }),
  )
  if (deps.cluster.monitoring && nomad.state === 'up')
    for (const id of MONITORING_JOBS) if (nomad.jobs[id]?.job.status !== 'running') problems.push(`${id} does not run`)
  const text = [
    table([
      ['machine', 'role', 'address', 'consul', 'nomad'],
      ...rows.map(row => [row.name, row.role, row.address, row.consul, row.nomad]),
    ]),
    `\nConsul ${quorums.consul}, Nomad ${quorums.nomad}\n`,
    ...(jobs.length === 0
      ? ['No app of config.json runs in the cluster.']
      : [table([['app', 'running', 'rollout', 'image'], ...jobs.map(job => [job.name, job.instances, job.rollout, job.image])])]),
    ...(problems.length > 0 ? ['', ...problems.map(problem => `✗ ${problem}`)] : []),
  ].join('\n')
  session.reporter.page(text, { machines: rows, ...quorums, apps: jobs, problems })
  return problems.length > 0 ? EXIT.failed : EXIT.done
}

const nomadOf = async ({ deps }: OpenedCluster, world: World<EstateWorld>) =>
  deps.nomadOn(hostOf(deps, world, 'nomad'), secretsOf(world.get('clusterNodes'))?.nomadManagement)

const LOG_BYTES = 20_000

/** The end of what an app's instances, or a machine's programs, have printed. */
export async function showLogs(session: Session, cluster: OpenedCluster, name: string | undefined): Promise<number> {
  const { deps } = cluster
  const { servers, workers, apps } = deps.cluster
  const machines = [...servers, ...workers]
  if (name === undefined || !(machines.includes(name) || apps.some(app => app.name === name)))
    throw new LandfallError(
      'usage',
      name === undefined ? 'Say whose logs: an app or a machine.' : `The cluster has no "${name}".`,
      {
        hint: `It has: ${[...apps.map(app => app.name), ...machines].join(', ')}.`,
      },
    )
  const world = await lookAt(cluster)
  if (machines.includes(name)) {
    const [part = 'nomad'] = flagValues(session, 'part')
    if (![...PARTS, 'docker'].includes(part))
      throw new LandfallError('usage', `--part is ${PARTS.join(', ')} or docker, not "${part}".`)
    const server = findServer(deps.estate.name, name, world.get('servers'))
    const target = server && targetOf(deps.estate.name, server)
    if (!target) throw new LandfallError('not_found', `${name} does not exist yet.`, { hint: 'bun scripts/cluster.ts apply' })
    const text = await runProgram(deps, target, 'cluster-log', { PART: part, LINES: '100' })
    session.reporter.page(text.trimEnd(), { machine: name, part, lines: text.trimEnd().split('\n') })
    return EXIT.done
  }
  const nomad = await nomadOf(cluster, world)
  const all = await nomad.listAllocations(name)
  if (all.length === 0)
    throw new LandfallError('not_found', `${name} has not been deployed.`, { hint: `bun scripts/cluster.ts deploy ${name}` })
  // Those that run, and those of a rollout that failed; not what earlier rollouts left.
  const newest = Math.max(...all.map(each => each.jobRevision))
  for (const each of all.filter(one => one.state === 'running' || one.jobRevision >= newest - 1)) {
    for (const stream of ['stdout', 'stderr'] as const) {
      const text = (await nomad.readLogs(each.id, name, stream, LOG_BYTES)).trimEnd()
      const head = `── ${name} on ${each.node}, ${each.state}, ${stream}${each.state === 'running' ? '' : ` (${each.said})`}`
      session.reporter.page(`${head}\n${text || '(nothing)'}`, {
        app: name,
        machine: each.node,
        state: each.state,
        stream,
        lines: text.split('\n'),
      })
    }
  }
  return EXIT.done
}

/** Which variables each app has, and how they differ from its file; never a value. */
export async function showSecrets(session: Session, cluster: OpenedCluster): Promise<number> {
  const world = await lookAt(cluster)
  const nomad = world.get('nomad')
  if (nomad.state !== 'up' || nomad.token !== 'known')
    throw new LandfallError('unhealthy', 'Nomad does not answer, so nobody knows its variables.', {
      hint: 'bun scripts/cluster.ts status',
    })
  for (const app of cluster.apps) {
    const wanted = cluster.deps.variablesOf(app)
    const have = nomad.variables[placeRead(app.name, nomad.jobs[app.name]?.job)]?.items ?? new Map()
    const { added, changed, removed } = variableChanges(wanted, have)
    const same = wanted.map(([name]) => name).filter(name => !added.includes(name) && !changed.includes(name))
    const lines = [
      ...same.map(name => `  ${name}`),
      ...added.map(name => `+ ${name}  only in the file`),
      ...changed.map(name => `~ ${name}  has another value`),
      ...removed.map(name => `- ${name}  only in Nomad`),
    ]
    session.reporter.page(`${app.name}\n${lines.join('\n') || '  (none)'}`, { app: app.name, same, added, changed, removed })
  }
  return EXIT.done
}

/** Grafana's own machine is the one to ask; undefined where it does not run. */
async function grafanaTunnel(cluster: OpenedCluster, world: World<EstateWorld>): Promise<string | undefined> {
  const { deps } = cluster
  if (!deps.cluster.monitoring) return undefined
  const all = await (await nomadOf(cluster, world)).listAllocations(MONITORING_JOB)
  const [running] = all.filter(each => each.wanted && each.state === 'running')
  const server = running && findServer(deps.estate.name, running.node, world.get('servers'))
  const target = server && targetOf(deps.estate.name, server)
  return target && cluster.tunnelTo(target, GRAFANA_PORT)
}

/** Tunnels to the pages of Nomad and Consul, open until interrupted. */
export async function holdTunnels(session: Session, cluster: OpenedCluster): Promise<number> {
  const world = await lookAt(cluster)
  const host = hostOf(cluster.deps, world, 'nomad')
  const [nomad, consul] = await Promise.all([cluster.tunnelTo(host, NOMAD_PORT), cluster.tunnelTo(host, CONSUL_PORT)])
  const grafana = await grafanaTunnel(cluster, world)
  session.reporter.page(
    [
      `Nomad   ${nomad}/ui`,
      `Consul  ${consul}/ui`,
      ...(grafana === undefined ? [] : [`Grafana ${grafana}`]),
      '',
      'What they ask for: bun scripts/cluster.ts login',
      'The tunnel ends with Ctrl-C.',
    ].join('\n'),
    { nomad_ui_url: `${nomad}/ui`, consul_ui_url: `${consul}/ui`, ...(grafana === undefined ? {} : { grafana_url: grafana }) },
  )
  await new Promise<void>(resolve => {
    if (session.signal.aborted) resolve()
    session.signal.addEventListener('abort', () => resolve(), { once: true })
  })
  return EXIT.done
}

/** The two management tokens, and Grafana's password, for who asks to see them. */
export async function showLogin(session: Session, cluster: OpenedCluster): Promise<number> {
  const world = await lookAt(cluster)
  const secrets = secretsOf(world.get('clusterNodes'))
  if (!secrets)
    throw new LandfallError('not_found', 'No server of the cluster keeps its tokens yet.', {
      hint: 'bun scripts/cluster.ts apply',
    })
  session.reveal('Nomad token', secrets.nomadManagement)
  session.reveal('Consul token', secrets.consulManagement)
  if (cluster.deps.cluster.monitoring) session.reveal('Grafana password of admin', grafanaPassword(secrets))
  return EXIT.done
}
