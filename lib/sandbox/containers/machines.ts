/**
 * Machines that are real: a systemd container for each running server of the cloud stand-in, behind a router that enforces the cloud's
 * firewall. They follow the cloud: each change is compared with what runs and made true. They need Linux, root and Docker Engine, and
 * live as long as the sandbox; a sandbox that is opened again makes them anew.
 */

import { existsSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { LandfallError } from '../../errors.ts'
import type { CertificateAuthority } from '../ca.ts'
import type { Exposure } from '../exposure.ts'
import type { GroundTruth } from '../hetzner/control.ts'
import { OPERATOR } from '../internet.ts'
import type { SandboxClock, Store } from '../kit.ts'
import type { MachineServer, SimulatedMachines } from '../machines/machines.ts'
import { firstHost, hasAddress } from '../machines/state.ts'
import { AUTHORITY_PATH, createContainerAuthority } from './authority.ts'
import { type Box, createBoxes } from './boxes.ts'
import { type ContainersControl, createControl } from './control.ts'
import { openEngine } from './engine.ts'
import { openFabric } from './fabric.ts'
import { type GuardedMachine, renderFirewall } from './firewall.ts'
import { answerMetadata } from './metadata.ts'
import { placesOf } from './places.ts'
import { sweep } from './sweep.ts'

export interface ContainerMachinesDeps {
  readonly store: Store
  readonly clock: SandboxClock
  readonly servers: () => readonly MachineServer[]
  /** What the cloud's firewall lets in to a server's public addresses now. */
  readonly exposure: (serverId: string) => readonly Exposure[]
  readonly resolve: (name: string) => string | undefined
  readonly ca: CertificateAuthority
  readonly openToWorld: (serverId: string, port: number) => boolean
  /** The cloud's own rows. */
  readonly cloud: () => GroundTruth
  readonly options: ContainerOptions
  /** Failures of the machines' making; nobody waits for them. */
  readonly onBug: (error: unknown) => void
}

export interface ContainerOptions {
  /** Where an engine of our own and the base image are kept. */
  readonly directory: string
  /** `landfall-machine:base` when absent. */
  readonly image?: string
}

export interface ContainerMachines extends Pick<SimulatedMachines, 'sync' | 'close' | 'dump'> {
  /** As the simulated machines' `dial`, from a source address; the operator's when absent. Judged by the real firewall. */
  dial(address: string, port: number, source?: string): ReturnType<SimulatedMachines['dial']>
  readonly control: ContainersControl
}

const DEFAULT_IMAGE = 'landfall-machine:base'
const FIRST_METADATA_PORT = 20_000
const DIAL_MS = 10_000
/** A connection that was asked for and is not picked up. */
const UNUSED_MS = 10_000

/** @throws config where container machines cannot run, or their base image was not built */
export const createContainerMachines = async (deps: ContainerMachinesDeps): Promise<ContainerMachines> => {
  const { directory, image = DEFAULT_IMAGE } = deps.options
  const engine = await openEngine(directory)
  const closers: (() => unknown)[] = [() => engine.close()]
  const close = async (): Promise<void> => {
    for (const step of closers.splice(0).reverse()) await step()
  }
  try {
    await sweep(engine)
    const known = await engine.tryDocker(['image', 'inspect', image])
    if (known.exitCode !== 0)
      throw new LandfallError('config', `The base image ${image} for container machines is not there.`, {
        hint: 'Build it with: bun tests/machines/base/build.ts',
      })
    const fabric = await openFabric()
    closers.push(fabric.close)

    const authority = createContainerAuthority(deps)
    const serverOf = (id: string) => deps.servers().find(server => server.id === id)
    const asleep = new Set<string>()
    const complaints = new Map<string, string>()
    const archive = join(directory, 'images')
    const boxes = createBoxes({
      engine,
      fabric,
      image,
      images: existsSync(archive) ? archive : undefined,
      onBug: deps.onBug,
    })
    closers.push(boxes.close)

    // ── metadata: one socket file for each cable, so that a machine can only ever read its own ──

    const ports = new Map<string, { readonly port: number; stop(): Promise<void> }>()
    let nextPort = FIRST_METADATA_PORT
    const serveMetadata = async (id: string): Promise<number> => {
      const existing = ports.get(id)
      if (existing) return existing.port
      const file = join(fabric.directory, `metadata-${id}.sock`)
      const listener = Bun.serve({
        unix: file,
        fetch(request) {
          const server = serverOf(id)
          const url = new URL(request.url)
          if (!server) return new Response(null, { status: 404 })
          if (url.pathname === AUTHORITY_PATH) return authority.answer(server, url.searchParams)
          const text = answerMetadata({ ...server, complaint: complaints.get(server.name) }, url.pathname)
          return text === undefined ? new Response('not found\n', { status: 404 }) : new Response(text)
        },
      })
      nextPort += 1
      const port = nextPort
      ports.set(id, {
        port,
        async stop() {
          await fabric.unlead(port)
          await listener.stop(true)
        },
      })
      await fabric.lead(port, file)
      return port
    }
    closers.push(() => Promise.all([...ports.values()].map(one => one.stop())))

    // ── following the cloud ──

    let loaded = ''
    const guard = async (): Promise<void> => {
      const machines: GuardedMachine[] = []
      for (const server of deps.servers())
        machines.push({
          link: boxes.linkOf(server.id),
          metadataPort: await serveMetadata(server.id),
          openings: deps.exposure(server.id),
        })
      const ruleset = renderFirewall(machines)
      if (ruleset === loaded) return
      await fabric.loadFirewall(ruleset)
      loaded = ruleset
    }

    const forget = async (id: string): Promise<void> => {
      await boxes.remove(id)
      authority.forget(id)
      await ports.get(id)?.stop()
      ports.delete(id)
    }

    const follow = createFollower(async () => {
      // First the wall, then whoever stands behind it.
      await guard()
      const places = placesOf(deps.cloud())
      for (const { id, serverId } of places.snapshots) await boxes.snapshot(id, serverId)
      const servers = deps.servers()
      const ids = new Set(servers.map(server => server.id))
      const gone = boxes.ids().filter(id => !ids.has(id))
      const followOne = (server: MachineServer) =>
        boxes.follow(server, {
          asleep: asleep.has(server.name),
          image: places.imageOf(server.id),
          privateCables: places.privateCablesOf(server.id),
        })
      await Promise.all([...gone.map(forget), ...servers.map(followOne)])
    }, deps.onBug)
    closers.push(follow.stop)

    const guarding = createFollower(guard, deps.onBug)
    closers.push(guarding.stop)

    const control = createControl({
      servers: deps.servers,
      settled: async () => {
        await guarding.idle()
        await follow.idle()
      },
      exec: boxes.exec,
      fabric,
      linkOf: boxes.linkOf,
      asleep,
      complaints,
    })
    await fabric.loadFirewall(renderFirewall([]))

    return {
      control,
      async dial(address, port, source) {
        const server = deps.servers().find(one => hasAddress(one, address))
        if (!server) return 'closed'
        await guarding.idle()
        const from = source ?? (address.includes(':') ? OPERATOR.ipv6 : OPERATOR.ipv4)
        const reached = await fabric.reach(from, address, port, DIAL_MS)
        if (reached.state !== 'open') return 'closed'
        return handOver(reached.socket)
      },
      sync() {
        guarding.poke()
        follow.poke()
      },
      close,
      dump: () => deps.servers().map(server => describe(server, boxes.get(server.id))),
    }
  } catch (error) {
    await close()
    throw error
  }
}

const describe = (server: MachineServer, box: Box | undefined) => ({
  id: server.id,
  name: server.name,
  status: server.status,
  ipv4: server.ipv4,
  ipv6: firstHost(server.ipv6),
  container: box?.container,
  state: box?.state ?? 'absent',
})

/** Does one piece of work again after each poke, never twice at once; pokes while it works are one more round. */
const createFollower = (work: () => Promise<void>, onBug: (error: unknown) => void) => {
  let wanted = false
  let stopped = false
  let running: Promise<void> | undefined
  const loop = async (): Promise<void> => {
    while (wanted && !stopped) {
      wanted = false
      await work().catch(onBug)
    }
    running = undefined
  }
  return {
    poke() {
      wanted = true
      // Not in the caller's own turn: the cloud is in the middle of a change.
      running ??= Promise.resolve().then(loop)
    },
    async idle(): Promise<void> {
      while (running) await running
    },
    async stop(): Promise<void> {
      stopped = true
      await running
    },
  }
}

/** A loopback port for exactly one connection, which is joined to one that is open already. */
const handOver = (far: Socket): Promise<{ host: string; port: number }> =>
  new Promise((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true }, near => {
      clearTimeout(timer)
      server.close()
      near.on('error', () => near.destroy())
      near.pipe(far)
      far.pipe(near)
      near.once('close', () => far.destroy())
      far.once('close', () => near.destroy())
    })
    far.on('error', () => far.destroy())
    const timer = setTimeout(() => {
      server.close()
      far.destroy()
    }, UNUSED_MS)
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      if (address === null || typeof address === 'string') return reject(new Error('A TCP listener has no port.'))
      resolve({ host: '127.0.0.1', port: address.port })
    })
  })
