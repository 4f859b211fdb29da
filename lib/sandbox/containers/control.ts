/** The levers of container machines: what the simulated ones offer, as far as it can be done to a real system, and what only these have. */

import { LandfallError } from '../../errors.ts'
import type { MachineServer, MachinesControl } from '../machines/machines.ts'
import type { Ran } from './commands.ts'
import type { Fabric } from './fabric.ts'
import { renderCut } from './firewall.ts'

export interface ContainersControl extends MachinesControl {
  /** Resolves when every machine is as the cloud has it: made, started, stopped or gone. Booting is up to the machine. */
  settled(): Promise<void>
  /** Runs a program in a machine as root, past its network. @throws not_found */
  exec(name: string, words: readonly string[], input?: string): Promise<Ran>
  /** What a TCP connection from an address outside meets: a listener, a refusal, or silence. Real packets, not rules. */
  probe(source: string, address: string, port: number): Promise<'open' | 'closed' | 'silent'>
  /** As `probe`, at this very moment: also while machines are made, started and stopped. */
  peek(source: string, address: string, port: number): Promise<'open' | 'closed' | 'silent'>
  /** Pulls or plugs a machine's cable to everybody else; its power stays on. @throws not_found */
  setCable(name: string, state: 'plugged' | 'pulled'): Promise<void>
  /** Namespaces of the router and of everybody outside, for tools of one's own. */
  readonly namespaces: Fabric['namespaces']
}

export interface ControlDeps {
  readonly servers: () => readonly MachineServer[]
  readonly settled: () => Promise<void>
  readonly exec: (serverId: string, words: readonly string[], input: string) => Promise<Ran>
  readonly fabric: Pick<Fabric, 'reach' | 'namespaces' | 'loadFirewall'>
  readonly linkOf: (serverId: string) => string
  /** Names of servers whose machine is not started. */
  readonly asleep: Set<string>
  /** What cloud-init of the named server's next first boot shall fail with. */
  readonly complaints: Map<string, string>
}

/** A machine of this computer answers within milliseconds, or not at all. */
const PROBE_MS = 1_500
const PEEK_MS = 500

export const createControl = ({ servers, settled, exec, fabric, linkOf, asleep, complaints }: ControlDeps): ContainersControl => {
  const serverNamed = (name: string): MachineServer => {
    const server = servers().find(one => one.name === name)
    if (!server) throw new LandfallError('not_found', `The sandbox has no server named ${name}.`)
    return server
  }
  const pulled = new Set<string>()
  const execIn: ContainersControl['exec'] = (name, words, input = '') => exec(serverNamed(name).id, words, input)
  const refuse = (fault: string) => (): never => {
    throw new LandfallError('usage', `A container machine cannot pretend "${fault}"; it is a real system.`, {
      hint: 'Make it true with exec, or use simulated machines.',
    })
  }
  const reach = async (source: string, address: string, port: number, timeoutMs: number) => {
    const reached = await fabric.reach(source, address, port, timeoutMs)
    if (reached.state === 'open') reached.socket.destroy()
    return reached.state
  }
  return {
    settled,
    exec: execIn,
    namespaces: fabric.namespaces,
    async probe(source, address, port) {
      await settled()
      return reach(source, address, port, PROBE_MS)
    },
    peek: (source, address, port) => reach(source, address, port, PEEK_MS),
    async setCable(name, state) {
      const link = linkOf(serverNamed(name).id)
      if (state === 'pulled') pulled.add(link)
      else pulled.delete(link)
      await fabric.loadFirewall(renderCut([...pulled]))
    },
    neverBoots: name => void asleep.add(name),
    heal(name) {
      asleep.delete(name)
      complaints.delete(name)
    },
    cloudInitError: (name, text) => void complaints.set(name, text),
    async changeHostKey(name) {
      const key = '/etc/ssh/ssh_host_ed25519_key'
      const change = `rm -f ${key} ${key}.pub && ssh-keygen -q -t ed25519 -N '' -f ${key} && systemctl restart ssh`
      const { exitCode, stderr } = await execIn(name, ['sh', '-c', change])
      if (exitCode !== 0) throw new LandfallError('vendor', `The host key of ${name} could not be changed: ${stderr.trim()}`)
    },
    cloudInitLate: refuse('cloudInitLate'),
    failInstall: refuse('failInstall'),
    diskFull: refuse('diskFull'),
    killDokploy: refuse('killDokploy'),
    reviveDokploy: refuse('reviveDokploy'),
    forgetInstallFailure: refuse('forgetInstallFailure'),
    installNixos: () => 'A container machine has no kernel of its own to start an installer with.',
    pushRevision: refuse('pushRevision'),
    dokploy: refuse('dokploy'),
    previews: refuse('previews'),
    changePreviews: refuse('changePreviews'),
    setRepositoryFiles: refuse('setRepositoryFiles'),
  }
}
