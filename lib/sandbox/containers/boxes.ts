/** The containers themselves: made, started, restarted, made anew and removed, so that each is what its server says. */

import type { MachineServer } from '../machines/machines.ts'
import { firstHost, isGolden } from '../machines/state.ts'
import type { Ran } from './commands.ts'
import type { Engine } from './engine.ts'
import type { Fabric } from './fabric.ts'

export interface Box {
  readonly container: string
  readonly state: 'running' | 'stopped'
  /** The power-on and the disk that it stands for. */
  readonly runningSinceMs: number | undefined
  readonly rebuiltAtMs: number | undefined
}

export interface BoxesDeps {
  readonly engine: Engine
  readonly fabric: Pick<Fabric, 'run' | 'plug'>
  readonly image: string
  /** A folder with the stand-in images. */
  readonly images: string | undefined
}

export interface Boxes {
  ids(): string[]
  get(serverId: string): Box | undefined
  /** The router's end of the machine's cable. */
  linkOf(serverId: string): string
  /** Makes the container what its server is now. */
  follow(server: MachineServer, options: { readonly asleep: boolean }): Promise<void>
  remove(serverId: string): Promise<void>
  exec(serverId: string, words: readonly string[], input: string): Promise<Ran>
  close(): Promise<void>
}

export const RUN_LABEL = 'landfall.run'

/** How long a machine may take to shut down before its power is cut. */
const SHUTDOWN_S = 10

export const createBoxes = ({ engine, fabric, image, images }: BoxesDeps): Boxes => {
  const boxes = new Map<string, Box>()

  const create = async (server: MachineServer): Promise<string> => {
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
      image,
      '/usr/local/sbin/machine-init',
    ])
  }

  const start = async (server: MachineServer, container: string): Promise<void> => {
    await engine.docker(['start', container])
    const pid = Number(await engine.docker(['inspect', '--format', '{{.State.Pid}}', container]))
    await fabric.plug({ link: linkOf(server.id), pid, ipv4: server.ipv4, ipv6: firstHost(server.ipv6) })
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
    async follow(server, { asleep }) {
      const { id, runningSinceMs, rebuiltAtMs } = server
      const isOn = server.status === 'running' && !asleep
      if (boxes.get(id) && boxes.get(id)?.rebuiltAtMs !== rebuiltAtMs) await remove(id)
      const box = boxes.get(id)
      const put = (container: string, state: Box['state']) => boxes.set(id, { container, state, runningSinceMs, rebuiltAtMs })
      if (box === undefined) {
        if (!isOn) return
        const container = await create(server)
        put(container, 'stopped')
        await start(server, container)
        put(container, 'running')
      } else if (!isOn) {
        if (box.state === 'running') await stop(box.container)
        put(box.container, 'stopped')
      } else if (box.state === 'stopped' || box.runningSinceMs !== runningSinceMs) {
        if (box.state === 'running') await stop(box.container)
        put(box.container, 'stopped')
        await start(server, box.container)
        put(box.container, 'running')
      }
    },
    remove,
    async exec(serverId, words, input) {
      const box = boxes.get(serverId)
      if (!box) return { exitCode: 125, stdout: '', stderr: 'The machine is not there.' }
      return engine.tryDocker(['exec', '--interactive', box.container, ...words], { input })
    },
    async close() {
      await Promise.all([...boxes.keys()].map(remove))
    },
  }
}

// Interface names have at most 15 characters; a server's id is unique and short.
const linkOf = (serverId: string): string => `m${serverId}`
