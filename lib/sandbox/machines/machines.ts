/**
 * The machines behind the servers of a cloud stand-in. Every running server has one, with real listeners on loopback that are opened when
 * somebody first dials them: SSH on 22, Dokploy on 3000, Traefik on 80 and 443. The cloud's firewall is not here: whoever dials from
 * outside asks it first. What a machine remembers is in the store, so a restart of the sandbox is not even a reboot.
 */

import { LandfallError } from '../../errors.ts'
import type { CertificateAuthority } from '../ca.ts'
import type { DokployControl } from '../dokploy/standin.ts'
import type { Hooks, SandboxClock, SandboxSettings, StandIn, Store } from '../kit.ts'
import { parseCloudConfig } from './cloud-config.ts'
import { createDisks, generateHostKey } from './disks.ts'
import { createFaults, type MachineFaults } from './faults.ts'
import type { Launch } from './launcher.ts'
import { type Listener, LOOPBACK, listenTcp } from './listen.ts'
import { type NixosRow, type PhaseInput, pushRevision, runPhase, serviceOf } from './nixos.ts'
import type { Outcome } from './outcome.ts'
import { createPlatform, SERVICE_PORT } from './platform.ts'
import { createPreviewEdges } from './preview-edge.ts'
import { DEFAULT_COMPOSE, EMPTY_PREVIEWS, type PreviewsDisk, type RepositoryFiles } from './preview-programs.ts'
import { runProgram } from './programs.ts'
import { createSshAcceptor } from './ssh.ts'
import {
  type DiskRow,
  type HostKey,
  hasAddress,
  hasReached,
  isGolden,
  lookAt,
  type MachineServer,
  type Moment,
  openMachineState,
} from './state.ts'

import { describeSwarm, type Member, type SwarmDisk } from './swarm-programs.ts'

export type { MachineServer } from './state.ts'

export interface SimulatedMachinesDeps {
  readonly store: Store
  readonly clock: SandboxClock
  readonly settings: () => Pick<SandboxSettings, 'bootMs' | 'dokployStartMs'> & Partial<Pick<SandboxSettings, 'rateLimits'>>
  readonly servers: () => readonly MachineServer[]
  /** The address that the sandbox's DNS gives for a name. */
  readonly resolve: (name: string) => string | undefined
  readonly ca: CertificateAuthority
  /** The address that the connection from this local port comes from in the simulated world; the operator's when unknown. */
  readonly sourceOf?: (localPort: number) => string | undefined
  /** Whether anybody on the internet reaches this port, as the certificate authority must; yes when absent. */
  readonly openToWorld?: (serverId: string, port: number) => boolean
  /** Opens a loopback listener for a stand-in, with latency, faults and log; one without them when absent. */
  readonly serve?: (standIn: StandIn) => Promise<Listener>
  /** How long the install program works; twice as long as Dokploy takes to start when absent. */
  readonly installMs?: () => number
  /** How long Let's Encrypt takes (50 ms), and how long Traefik lets a failed order lie (2 s). */
  readonly acme?: { readonly issueMs: number; readonly retryMs: number }
  readonly hooks?: Pick<Hooks, 'beforeProgram' | 'afterProgram' | 'afterProgramAnswer'>
}

export interface MachinesControl extends MachineFaults {
  /** Another machine answers at this address from now on: same login, another host key. @throws not_found */
  changeHostKey(name: string): Promise<void>
  /** One phase of an installation of NixOS on the machine at an address; a sentence when it cannot be done. */
  installNixos(address: string, input: PhaseInput): string | undefined
  /** A new commit on the branch of a repository that services are cloned from; gives its id. */
  pushRevision(repository: string, healthy: boolean): string
  /** The panel behind a server, for assertions and for its own faults. @throws not_found */
  dokploy(name: string): DokployControl
  /** What a machine has of previews. @throws not_found */
  previews(name: string): PreviewsDisk
  /** Changes that by hand, as somebody with a shell there would. */
  changePreviews(name: string, change: (disk: PreviewsDisk) => PreviewsDisk): void
  /** The files of the repository that previews are made from, by commit and path; until the process ends. */
  setRepositoryFiles(files: RepositoryFiles): void
}

export interface SimulatedMachines {
  /** Where an address and port lead on this computer's loopback; 'closed' when nothing listens there. Ask again for each connection. */
  dial(address: string, port: number): Promise<{ readonly host: string; readonly port: number } | 'closed'>
  /** To be called after each change of the cloud's servers. */
  sync(): void
  close(): Promise<void>
  /** Every machine at this moment, without secrets. */
  dump(): unknown
  readonly control: MachinesControl
}

/** The operator's address in the simulated world. */
const OPERATOR_ADDRESS = '198.51.100.7'
const DEFAULT_DOKPLOY_VERSION = 'v0.30.2'

/** A machine that somebody has talked to. */
interface Live {
  /** Which power-on and disk its listeners belong to. */
  epoch: string
  readonly listeners: Map<number, Promise<Listener>>
}

export function createSimulatedMachines(deps: SimulatedMachinesDeps): SimulatedMachines {
  const { store, clock } = deps
  const state = openMachineState(store)
  const disks = createDisks(state.disks)
  const lives = new Map<string, Live>()
  const closing = new Set<Promise<void>>()

  let repositoryFiles: RepositoryFiles = (_head, path) => (path.endsWith('.yml') ? DEFAULT_COMPOSE : undefined)

  const findNamed = (name: string): MachineServer | undefined => deps.servers().find(server => server.name === name)

  const serverNamed = (name: string): MachineServer => {
    const server = findNamed(name)
    if (!server) throw new LandfallError('not_found', `The sandbox has no server named ${name}.`)
    return server
  }

  const momentOf = (server: MachineServer): Moment =>
    lookAt(server, disks.get(server), state.faults.get(server.name), deps.settings(), clock.nowMs())

  const closeListener = (live: Live, port: number): void => {
    const listener = live.listeners.get(port)
    if (!listener) return
    live.listeners.delete(port)
    const done = listener.then(open => open.close()).finally(() => closing.delete(done))
    closing.add(done)
  }

  const closeAll = (live: Live): void => {
    for (const port of [...live.listeners.keys()]) closeListener(live, port)
  }

  const wipe = (serverId: string): void => {
    store.transaction(() => {
      disks.drop(serverId)
      platform.forget(serverId)
    })
  }

  /** The machine of a server; one that was switched off, rebooted or rebuilt since loses its connections here. */
  const liveOf = (server: MachineServer): Live => {
    const epoch = [server.status === 'running', server.runningSinceMs, server.rebuiltAtMs].join(' ')
    const live = lives.get(server.id) ?? { epoch, listeners: new Map() }
    lives.set(server.id, live)
    if (live.epoch !== epoch) closeAll(live)
    live.epoch = epoch
    if (disks.isStale(server)) wipe(server.id)
    return live
  }

  const versionOf = (server: MachineServer): string => {
    const label = server.image.labels['landfall/dokploy']
    const ofImage = label === undefined ? DEFAULT_DOKPLOY_VERSION : label.replace(/^v?/, 'v')
    return disks.get(server)?.install?.version ?? ofImage
  }

  const panelPortOf = (server: MachineServer, disk: DiskRow | undefined): 'unguarded' | 'open' | 'closed' =>
    disk?.panelPort ?? (!isGolden(server) && hasReached(momentOf(server).install, 'swarm') ? 'open' : 'unguarded')

  /** The machines that can be in a swarm with each other, as they are now. */
  const membersOf = (): Member[] =>
    deps.servers().map(server => ({
      server,
      isUp: momentOf(server).booted,
      managesSwarm: isGolden(server) || hasReached(momentOf(server).install, 'secrets'),
      disk: disks.get(server)?.swarm ?? {},
      set: (swarm: SwarmDisk) => disks.change(server, { swarm }),
    }))

  const aboutRun = (server: MachineServer, launch: Launch) => ({ machine: server.name, name: launch.name ?? '' })

  const run = async (server: MachineServer, launch: Launch, remotePort: number): Promise<Outcome> => {
    await deps.hooks?.beforeProgram?.(aboutRun(server, launch))
    const faults = state.faults.get(server.name)
    const disk = disks.get(server)
    const machine = {
      server,
      moment: momentOf(server),
      nowMs: clock.nowMs(),
      diskFull: faults?.diskFull ?? false,
      cloudInitError: faults?.cloudInitError ?? disk?.cloudInitError,
      dokployVersion: versionOf(server),
      sshClient: deps.sourceOf?.(remotePort) ?? OPERATOR_ADDRESS,
      login: disk?.login,
      history: disk?.history ?? {},
      setHistory: (history: Readonly<Record<string, readonly string[]>>) => disks.change(server, { history }),
      previews: disk?.previews ?? EMPTY_PREVIEWS,
      setPreviews: (previews: PreviewsDisk) => {
        const live = lives.get(server.id)
        // A certificate that was taken up is shown to those who come from now on.
        if (live && previews.loaded?.certificate !== disks.get(server)?.previews?.loaded?.certificate) closeListener(live, 443)
        disks.change(server, { previews })
      },
      repositoryFile: (head: string, path: string) => repositoryFiles(head, path),
      apps: () => platform.panelOf(server).apps,
      panelPort: panelPortOf(server, disk),
      setPanelPort: (panelPort: 'open' | 'closed') => disks.change(server, { panelPort }),
      setLogin: (login: Readonly<Record<string, string>>) => disks.change(server, { login }),
      setHostKey: (hostKey: HostKey) => disks.change(server, { hostKey }),
      certificates: {
        read: () => {
          const rows = platform.certificatesOf(server.id).filter(row => row.state.kind === 'issued')
          return rows.length === 0 ? '' : JSON.stringify(rows)
        },
        write: (text: string) => platform.restoreCertificates(server.id, JSON.parse(text)),
      },
      swarm: {
        disk: disk?.swarm ?? {},
        set: (swarm: SwarmDisk) => disks.change(server, { swarm }),
        prepareMs: deps.installMs?.() ?? deps.settings().dokployStartMs,
        members: membersOf(),
      },
      advertiseAddr: disk?.install?.advertiseAddr ?? server.privateIps?.[0] ?? server.ipv4 ?? '',
      nixos: { row: disk?.nixos, remotes: state.remotes, set: (nixos: NixosRow) => disks.change(server, { nixos }) },
      startInstall: (input: { version: string; advertiseAddr: string; pool: string }) => {
        const failsAt = isGolden(server) ? 'none' : faults?.diskFull ? 'host' : faults?.failInstallAt
        const durationMs = deps.installMs?.() ?? 2 * deps.settings().dokployStartMs
        disks.change(server, { install: { ...input, startedAtMs: clock.nowMs(), durationMs, ...(failsAt && { failsAt }) } })
        control.forgetInstallFailure(server.name)
      },
    }
    const outcome = await runProgram(launch.name, machine, launch.values)
    await deps.hooks?.afterProgram?.(aboutRun(server, launch))
    return outcome
  }

  const openSsh = async (server: MachineServer): Promise<Listener> => {
    const disk = await disks.ensure(server)
    const accept = await createSshAcceptor({
      hostKey: () => (disks.get(server) ?? disk).hostKey.privateKey,
      authorizedKeys: () => [...server.sshKeys, ...parseCloudConfig(server.userData).authorizedKeys],
      run: (launch, remotePort) => run(server, launch, remotePort),
      answered: launch => deps.hooks?.afterProgramAnswer?.(aboutRun(server, launch)),
      loopback: port => reach(server, port),
    })
    return listenTcp(accept)
  }

  /** What listens on a port of this machine now; no firewall asked. */
  const reach = async ({ id }: Pick<MachineServer, 'id'>, port: number): Promise<Listener | 'closed'> => {
    const server = deps.servers().find(one => one.id === id)
    const opener = openers[port]
    if (!server || !opener) return 'closed'
    const live = liveOf(server)
    if (!opener.isUp(momentOf(server), server)) {
      closeListener(live, port)
      return 'closed'
    }
    await disks.ensure(server)
    const listener = live.listeners.get(port) ?? opener.open(server)
    live.listeners.set(port, listener)
    try {
      return await listener
    } catch (error) {
      // The next caller gets another try.
      live.listeners.delete(port)
      throw error
    }
  }

  const platform = createPlatform({
    store,
    clock,
    ca: deps.ca,
    resolve: deps.resolve,
    openToWorld: deps.openToWorld ?? (() => true),
    serve: deps.serve,
    acme: deps.acme ?? { issueMs: 50, retryMs: 2_000 },
    rateLimits: () => deps.settings().rateLimits ?? true,
    serviceOf: server => serviceOf(state.remotes, disks.get(server)),
    versionOf,
    reach,
  })

  const edges = createPreviewEdges({ diskOf: server => disks.get(server)?.previews, servers: deps.servers })

  /** An edge for previews and a Traefik never share a machine. */
  const openSecure = (server: MachineServer): Promise<Listener> => edges.open(server) ?? platform.openWebSecure(server)

  const service = (server: MachineServer) => serviceOf(state.remotes, disks.get(server))
  const webIsUp = (moment: Moment, server: MachineServer): boolean =>
    moment.traefikUp || (moment.booted && service(server) !== undefined)
  const openers: Readonly<
    Record<number, { isUp(moment: Moment, server: MachineServer): boolean; open(server: MachineServer): Promise<Listener> }>
  > = {
    22: { isUp: moment => moment.booted, open: openSsh },
    80: { isUp: webIsUp, open: platform.openWeb },
    443: { isUp: (moment, server) => webIsUp(moment, server) || (moment.booted && edges.isSet(server)), open: openSecure },
    [SERVICE_PORT]: {
      isUp: (moment, server) => moment.booted && service(server)?.healthy === true,
      open: platform.openService,
    },
    3000: { isUp: moment => moment.dokployUp, open: platform.openDokploy },
  }

  /** Closes what a new fault has closed; who is connected must notice. */
  const applyFaults = (name: string): void => {
    const server = findNamed(name)
    const live = server && lives.get(server.id)
    if (!server || !live) return
    const moment = momentOf(server)
    for (const port of [...live.listeners.keys()]) if (!openers[port]?.isUp(moment, server)) closeListener(live, port)
  }

  const control: MachinesControl = {
    ...createFaults(state.faults, applyFaults),
    async changeHostKey(name) {
      const server = serverNamed(name)
      await disks.ensure(server)
      disks.change(server, { hostKey: await generateHostKey() })
    },
    installNixos(address, input) {
      const server = deps.servers().find(one => hasAddress(one, address))
      if (!server || !momentOf(server).booted) return `No machine answers at ${address}.`
      const problem = runPhase(disks, server, input)
      if (problem === undefined && input.phase === 'disko') platform.forget(server.id)
      // Who is connected to a system that is gone must notice.
      const live = lives.get(server.id)
      if (live && (input.phase === 'kexec' || input.phase === 'reboot')) closeAll(live)
      return problem
    },
    pushRevision: (repository, healthy) => pushRevision(state.remotes, repository, healthy),
    dokploy: name => platform.panelOf(serverNamed(name)),
    previews: name => disks.get(serverNamed(name))?.previews ?? EMPTY_PREVIEWS,
    changePreviews(name, change) {
      const server = serverNamed(name)
      disks.change(server, { previews: change(disks.get(server)?.previews ?? EMPTY_PREVIEWS) })
    },
    setRepositoryFiles: files => {
      repositoryFiles = files
    },
  }

  const dumpOne = (server: MachineServer): unknown => {
    const disk = disks.get(server)
    const moment = momentOf(server)
    const certificates = platform.certificatesOf(server.id).map(row => ({
      host: row.host,
      accountEmail: row.accountEmail,
      orders: row.orders,
      failures: row.failures,
      state: row.state.kind,
    }))
    return {
      name: server.name,
      id: server.id,
      ...moment,
      certificates,
      ...(disk?.nixos && { nixos: { ...disk.nixos, hostKey: undefined, settings: Object.keys(disk.nixos.settings ?? {}) } }),
      ...(disk && { hostKey: disk.hostKey.publicKey, login: Object.keys(disk.login ?? {}) }),
      ...(disk?.swarm && { swarm: describeSwarm(disk.swarm) }),
      ...(disk && moment.dokploy === 'installed' && { panel: platform.panelOf(server).dump() }),
    }
  }

  return {
    async dial(address, port) {
      const server = deps.servers().find(one => hasAddress(one, address))
      if (!server) return 'closed'
      const listener = await reach(server, port)
      return listener === 'closed' ? 'closed' : { host: LOOPBACK, port: listener.port }
    },
    sync() {
      const servers = new Map(deps.servers().map(server => [server.id, server]))
      for (const [id, live] of lives) {
        const server = servers.get(id)
        if (server) liveOf(server)
        else {
          closeAll(live)
          lives.delete(id)
        }
      }
      for (const disk of disks.all()) {
        const server = servers.get(disk.serverId)
        if (!server || disks.isStale(server)) wipe(disk.serverId)
      }
    },
    async close() {
      for (const live of lives.values()) closeAll(live)
      lives.clear()
      await Promise.all(closing)
    },
    dump: () => deps.servers().map(dumpOne),
    control,
  }
}
