/** The containers themselves: made, started, restarted, made anew and removed, so that each is what its server says. */

import type { MachineServer } from '../machines/machines.ts'
import { firstHost, isGolden } from '../machines/state.ts'
import type { Ran } from './commands.ts'
import type { Engine } from './engine.ts'
import type { Fabric } from './fabric.ts'
import type { PrivateCable } from './places.ts'

export interface Box {
  readonly container: string
  readonly state: 'running' | 'stopped'
  /** Nobody stopped it from here. */
  readonly endedItself?: true
  /** The power-on and the disk that it stands for. */
  readonly runningSinceMs: number | undefined
  readonly rebuiltAtMs: number | undefined
  /** Its first process, while it runs. */
  readonly pid?: number
  /** The private networks that it is plugged into. */
  readonly privateCables?: string
}

export interface BoxesDeps {
  readonly engine: Engine
  readonly fabric: Pick<Fabric, 'run' | 'plug' | 'plugPrivate'>
  readonly image: string
  /** A folder with the stand-in images. */
  readonly images: string | undefined
  readonly onBug: (error: unknown) => void
}

export interface Wish {
  /** Its machine is not started although the cloud says that it runs. */
  readonly asleep: boolean
  /** The id of the image that its disk was written from. */
  readonly image: string | undefined
  readonly privateCables: readonly PrivateCable[]
}

export interface Boxes {
  ids(): string[]
  get(serverId: string): Box | undefined
  /** The router's end of the machine's cable. */
  linkOf(serverId: string): string
  /** Makes the container what its server is now. */
  follow(server: MachineServer, wish: Wish): Promise<void>
  /** Keeps a machine's disk as it is now, without what its own Docker holds; once for each id. */
  snapshot(imageId: string, serverId: string): Promise<void>
  remove(serverId: string): Promise<void>
  exec(serverId: string, words: readonly string[], input: string): Promise<Ran>
  close(): Promise<void>
}

export const RUN_LABEL = 'landfall.run'

/** How the kernel ends the first process of a machine that restarts itself: 128 + SIGHUP. */
const REBOOTED = '129'
const FOR_EVER_MS = 2 ** 31 - 1

/** How long a machine may take to shut down before its power is cut. */
const SHUTDOWN_S = 10

export const createBoxes = ({ engine, fabric, image, images, onBug }: BoxesDeps): Boxes => {
  const boxes = new Map<string, Box>()
  const snapshots = new Map<string, string>()

  const create = async (server: MachineServer, from: string): Promise<string> => {
    const golden = server.image.labels['landfall/dokploy']
    return engine.docker([
      'create',
      ...['--name', `landfall-${fabric.run}-${server.id}`, '--hostname', server.name],
      ...['--label', `${RUN_LABEL}=${fabric.run}`, '--label', `landfall.server=${server.name}`],
      ...['--network', 'none', '--cgroupns', 'private', '--stop-signal', 'SIGRTMIN+3', '--env', 'container=docker'],
      // Everything that systemd and an engine inside need, and no device of this computer.
      ...['--cap-add', 'ALL', '--cap-drop', 'SYS_RESOURCE'],
      ...['seccomp', 'apparmor', 'systempaths'].flatMap(name => ['--security-opt', `${name}=unconfined`]),
      ...['--volume', '/var/lib/docker'],
      ...(images === undefined ? [] : ['--volume', `${images}:/var/lib/landfall-images:ro`]),
      ...(isGolden(server) ? ['--env', `GOLDEN_DOKPLOY=${(golden ?? '0.30.2').replace(/^v?/, 'v')}`] : []),
      from,
      '/usr/local/sbin/machine-init',
    ])
  }

  const start = async (server: MachineServer, container: string, privateCables: readonly PrivateCable[]): Promise<void> => {
    await engine.docker(['start', container])
    const pid = Number(await engine.docker(['inspect', '--format', '{{.State.Pid}}', container]))
    await fabric.plugPrivate(server.id, pid, privateCables)
    await fabric.plug({ link: linkOf(server.id), pid, ipv4: server.ipv4, ipv6: firstHost(server.ipv6) })
    boxes.set(server.id, { ...boxOf(server, container), state: 'running', pid, privateCables: namesOf(privateCables) })
    watch(server, container, privateCables).catch(onBug)
  }

  /** A machine that was restarted from inside comes back; one that was switched off stays off. */
  const watch = async (server: MachineServer, container: string, privateCables: readonly PrivateCable[]): Promise<void> => {
    const { stdout } = await engine.tryDocker(['wait', container], { timeoutMs: FOR_EVER_MS })
    const box = boxes.get(server.id)
    const isOurDoing = box?.container !== container || box.state === 'stopped' || box.runningSinceMs !== server.runningSinceMs
    if (isOurDoing) return
    boxes.set(server.id, { ...box, state: 'stopped', endedItself: true })
    if (stdout.trim() === REBOOTED) await start(server, container, privateCables)
  }

  const stop = (container: string) => engine.docker(['stop', '--time', String(SHUTDOWN_S), container])

  const remove = async (serverId: string): Promise<void> => {
    const box = boxes.get(serverId)
    if (!box) return
    boxes.delete(serverId)
    await engine.docker(['rm', '--force', '--volumes', box.container])
  }

  return {
    ids: () => [...boxes.keys()],
    get: serverId => boxes.get(serverId),
    linkOf,
    async follow(server, { asleep, image: imageId, privateCables }) {
      const { id, runningSinceMs, rebuiltAtMs } = server
      const isOn = server.status === 'running' && !asleep
      if (boxes.get(id) && boxes.get(id)?.rebuiltAtMs !== rebuiltAtMs) await remove(id)
      const box = boxes.get(id)
      if (box === undefined) {
        if (!isOn) return
        const container = await create(server, snapshots.get(imageId ?? '') ?? image)
        boxes.set(id, boxOf(server, container))
        await start(server, container, privateCables)
        return
      }
      if (isOn && box.runningSinceMs === runningSinceMs) {
        // Switched off from inside, it stays off until the cloud switches it on.
        if (box.endedItself) return
        if (box.state === 'running' && box.privateCables === namesOf(privateCables)) return
        if (box.state === 'running' && box.pid !== undefined) {
          await fabric.plugPrivate(id, box.pid, privateCables)
          boxes.set(id, { ...box, privateCables: namesOf(privateCables) })
          return
        }
      }
      boxes.set(id, boxOf(server, box.container))
      if (box.state === 'running') await stop(box.container)
      if (isOn) await start(server, box.container, privateCables)
    },
    async snapshot(imageId, serverId) {
      const box = boxes.get(serverId)
      if (!box || snapshots.has(imageId)) return
      const tag = `landfall-machine:${fabric.run}-${imageId}`
      snapshots.set(imageId, tag)
      await engine.docker(['commit', '--change', `LABEL ${RUN_LABEL}=${fabric.run}`, box.container, tag])
    },
    remove,
    async exec(serverId, words, input) {
      const box = boxes.get(serverId)
      if (!box) return { exitCode: 125, stdout: '', stderr: 'The machine is not there.' }
      return engine.tryDocker(['exec', '--interactive', box.container, ...words], { input })
    },
    async close() {
      await Promise.all([...boxes.keys()].map(remove))
      if (snapshots.size > 0) await engine.docker(['image', 'rm', '--force', ...snapshots.values()])
    },
  }
}

// Interface names have at most 15 characters; a server's id is unique and short.
const linkOf = (serverId: string): string => `m${serverId}`

const namesOf = (cables: readonly PrivateCable[]): string => cables.map(({ network, ip }) => `${network}=${ip}`).join(' ')

const boxOf = ({ runningSinceMs, rebuiltAtMs }: MachineServer, container: string): Box => ({
  container,
  state: 'stopped',
  runningSinceMs,
  rebuiltAtMs,
})
