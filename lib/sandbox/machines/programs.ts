/** What Landfall's programs do on a simulated machine, by name. Inputs and outputs as `lib/estate/programs.ts` has them. */

import { PROGRAMS, type ProgramName } from '../../estate/programs.ts'
import type { AppsControl } from '../dokploy/apps/apps.ts'
import { APP_PROGRAMS } from './app-programs.ts'
import { NIXOS_PROGRAMS, type NixosMachine, nixosFacts } from './nixos.ts'
import { fail, lines, type Outcome } from './outcome.ts'
import { PREVIEW_PROGRAMS, type PreviewsDisk } from './preview-programs.ts'
import { type HostKey, hasReached, type InstallRow, isGolden, type MachineServer, type Moment } from './state.ts'
import { isPrepared, SWARM_PROGRAMS, type SwarmMachine, swarmFacts } from './swarm-programs.ts'

/** One machine at one moment, as a program sees and changes it. */
export interface ProgramMachine {
  readonly server: MachineServer
  readonly moment: Moment
  readonly nowMs: number
  readonly diskFull: boolean
  readonly cloudInitError: string | undefined
  /** With "v"; what runs here, or would. */
  readonly dokployVersion: string
  /** The caller's address as the machine sees it. */
  readonly sshClient: string
  readonly login: Readonly<Record<string, string>> | undefined
  readonly history: Readonly<Record<string, readonly string[]>>
  setHistory(history: Readonly<Record<string, readonly string[]>>): void
  readonly previews: PreviewsDisk
  setPreviews(previews: PreviewsDisk): void
  /** A file of the previews' repository; undefined: it has none. */
  repositoryFile(head: string, path: string): string | undefined
  /** What lives in the machine's Dokploy. */
  apps(): AppsControl
  setLogin(login: Readonly<Record<string, string>>): void
  setHostKey(key: HostKey): void
  readonly nixos: NixosMachine
  readonly swarm: SwarmMachine
  /** Of the swarm that came with Dokploy. */
  readonly advertiseAddr: string
  /** What Traefik keeps of its certificates, as text; empty when there are none. */
  readonly certificates: { read(): string; write(text: string): void }
  readonly panelPort: 'unguarded' | 'open' | 'closed'
  setPanelPort(state: 'open' | 'closed'): void
  startInstall(input: Pick<InstallRow, 'version' | 'advertiseAddr' | 'pool'>): void
}

export type Values = Readonly<Record<string, string>>

export interface Emulation {
  /** The values it takes; every program of Landfall's reads its stdin up to the closing line. */
  readonly accepts: readonly string[]
  run(machine: ProgramMachine, values: Values): Outcome | Promise<Outcome>
}

const DOCKER_VERSION = '28.5.0'

const LOGIN_NAMES = ['EMAIL', 'PASSWORD', 'API_KEY'] as const

const facts = (machine: ProgramMachine): Outcome => {
  const { server, moment, nowMs } = machine
  const docker = hasDocker(machine)
  const { cloudInitError } = machine
  return lines({
    // A snapshot has no name of its own; ours is a NixOS.
    os: machine.nixos.row ? 'nixos-26.05' : (server.image.name ?? 'nixos-26.05'),
    uptime_s: Math.floor((nowMs - (server.runningSinceMs ?? 0)) / 1000),
    clock_s: Math.floor(nowMs / 1000),
    ...nixosFacts(machine),
    memory_mb: 3819,
    disk_free_mb: machine.diskFull ? 0 : 34_212,
    docker: docker ? DOCKER_VERSION : 'none',
    ...swarmFacts(machine),
    cloud_init: moment.cloudInit,
    ...(moment.cloudInit === 'error' && cloudInitError !== undefined
      ? { cloud_init_error: base64(JSON.stringify(cloudInitError)) }
      : {}),
    dokploy: moment.dokploy,
    dokploy_login: hasLogin(machine) ? 'present' : 'absent',
    panel_port: machine.panelPort,
    ssh_client: machine.sshClient,
  })
}

const rotateHostKey = async (machine: ProgramMachine, values: Values): Promise<Outcome> => {
  const { PRIVATE: privateKey = '', PUBLIC: publicKey = '' } = values
  if (machine.diskFull) return noSpace
  const derived = await publicPartOf(privateKey)
  if (derived === undefined) return fail(65, 'The private host key cannot be read.')
  if (derived !== publicKey) return fail(65, 'The two halves of the host key do not belong together.')
  machine.setHostKey({ privateKey, publicKey })
  return lines({ ok: 1 })
}

const readLogin = (machine: ProgramMachine): Outcome => {
  if (!hasLogin(machine)) return { exitCode: 4 }
  const { login = {} } = machine
  return {
    exitCode: 0,
    stdout: LOGIN_NAMES.flatMap(name => (login[name] ? [`${name} ${base64(login[name])}\n`] : [])).join(''),
  }
}

const writeLogin = (machine: ProgramMachine, values: Values): Outcome => {
  if (machine.diskFull) return noSpace
  machine.setLogin({ ...machine.login, ...values })
  return lines({ ok: 1 })
}

const startInstall = (machine: ProgramMachine, values: Values): Outcome => {
  for (const [name, allowed] of Object.entries(INSTALL_VALUES))
    if (!allowed.test(values[name] ?? '')) return fail(65, `${name} is not what an installation can use.`)
  const { install, dokployUp } = machine.moment
  if (install.unit === 'running') return lines({ unit: 'running' })
  if (install.unit === 'done' && dokployUp) return lines({ unit: 'done' })
  const { VERSION: version = '', ADVERTISE_ADDR: advertiseAddr = '', POOL: pool = '' } = values
  machine.startInstall({ version: `v${version}`, advertiseAddr, pool })
  return lines({ unit: 'started' })
}

const INSTALL_VALUES = { VERSION: /^[0-9A-Za-z.-]+$/, ADVERTISE_ADDR: /^[0-9A-Fa-f.:]+$/, POOL: /^[0-9./]+$/ }

const watchInstall = ({ moment: { install }, diskFull }: ProgramMachine): Outcome => {
  if (install.unit === 'absent') return lines({ unit: 'absent', stage: 'none' })
  if (install.unit === 'done') return lines({ unit: 'done', stage: 'done' })
  const { stage } = install
  const unit = install.unit === 'interrupted' ? 'absent' : install.unit
  if (unit !== 'failed') return lines({ unit, stage })
  const why =
    stage === 'none'
      ? 'This is neither Debian nor Ubuntu; an image that brings Dokploy itself needs no installation.'
      : diskFull
        ? 'Only 0 MB are free under /var/lib; an installation needs 4096 MB.'
        : `The stage ${stage} did not end well.`
  const log = [`stopped: ${why}`, `failed at stage ${stage} with exit code 1`]
  const state = lines({ unit, stage })
  return { ...state, stdout: `${state.stdout}${log.map(line => `log ${base64(line)}\n`).join('')}` }
}

const inspect = (machine: ProgramMachine): Outcome => {
  const { moment, dokployVersion, cloudInitError } = machine
  const replicas = (isUp: boolean) => (isUp ? '1/1' : '0/1')
  const services =
    moment.dokploy !== 'installed'
      ? []
      : [
          `service dokploy ${replicas(moment.dokployUp)} dokploy/dokploy:${dokployVersion}`,
          `service dokploy-postgres ${replicas(moment.traefikUp)} postgres:16`,
          `service dokploy-traefik ${replicas(moment.traefikUp)} traefik:v3.6.7`,
        ]
  const result = JSON.stringify({ v1: { datasource: 'DataSourceHetzner', errors: [cloudInitError] } })
  const error = cloudInitError === undefined ? [] : [`cloud_init_error ${base64(result)}`]
  return { exitCode: 0, stdout: [...services, ...error].map(line => `${line}\n`).join('') }
}

const readCertificates = ({ certificates }: ProgramMachine): Outcome => {
  const text = certificates.read()
  return text === '' ? { exitCode: 4 } : { exitCode: 0, stdout: `acme ${base64(text)}\n` }
}

const writeCertificates = (machine: ProgramMachine, { ACME = '' }: Values): Outcome => {
  if (machine.diskFull) return noSpace
  machine.certificates.write(ACME)
  return lines({ ok: 1 })
}

const setPanelPort = (machine: ProgramMachine, { STATE: state }: Values): Outcome => {
  if (state !== 'open' && state !== 'closed') return fail(65, 'A port is open or closed.')
  if (machine.diskFull) return noSpace
  machine.setPanelPort(state)
  return lines({ ok: 1 })
}

const EMULATIONS = {
  'read-certificates': { accepts: [], run: readCertificates },
  'write-certificates': { accepts: ['ACME'], run: writeCertificates },
  facts: { accepts: [], run: facts },
  'rotate-host-key': { accepts: ['PRIVATE', 'PUBLIC'], run: rotateHostKey },
  'read-dokploy-login': { accepts: [], run: readLogin },
  'write-dokploy-login': { accepts: LOGIN_NAMES, run: writeLogin },
  'start-dokploy-install': {
    accepts: [...Object.keys(INSTALL_VALUES), 'DOKPLOY_DIGEST', 'POSTGRES_DIGEST', 'TRAEFIK_DIGEST'],
    run: startInstall,
  },
  'watch-dokploy-install': { accepts: [], run: watchInstall },
  'set-panel-port': { accepts: ['STATE'], run: setPanelPort },
  inspect: { accepts: [], run: inspect },
  ...APP_PROGRAMS,
  ...SWARM_PROGRAMS,
  ...PREVIEW_PROGRAMS,
  ...NIXOS_PROGRAMS,
  // A pretended machine could only pretend a quorum: container machines run the real one.
  'cluster-facts': { accepts: [], run: () => noCluster },
  'read-cluster-secrets': { accepts: [], run: () => ({ exitCode: 4 }) },
  'write-cluster-secrets': { accepts: ['SECRETS'], run: () => noCluster },
  'set-cluster-part': {
    accepts: ['PART', 'CONFIG', 'UNIT', 'VERSION', 'URL', 'SHA256', 'CA', 'CERT', 'KEY', 'JOIN', 'LOGINS', 'BLIND_S'],
    run: () => noCluster,
  },
  'confirm-cluster-part': { accepts: ['PART'], run: () => noCluster },
  'set-cluster-visitors': { accepts: ['VISITORS', 'BLIND_S'], run: () => noCluster },
  'cluster-log': { accepts: ['PART', 'LINES'], run: () => noCluster },
} satisfies Record<ProgramName, Emulation>

const isKnown = (name: string): name is ProgramName => Object.hasOwn(PROGRAMS, name)

/** The values that a program takes; undefined for one that reads none and does not wait for their end. */
export const acceptedValues = (name: string): readonly string[] | undefined =>
  isKnown(name) ? EMULATIONS[name].accepts : undefined

/** Runs a program by its name; an unknown one exits 127, as a shell does for a command that it cannot find. */
export const runProgram = async (name: string | undefined, machine: ProgramMachine, values: Values): Promise<Outcome> => {
  // The adapter's own question whether programs can be run at all.
  if (name === 'probe') return { exitCode: 0 }
  return name !== undefined && isKnown(name) ? EMULATIONS[name].run(machine, values) : fail(127, 'sh: not simulated')
}

const publicPartOf = async (privateKey: string): Promise<string | undefined> => {
  const { default: ssh2 } = await import('ssh2')
  const parsed = ssh2.utils.parseKey(privateKey)
  if (parsed instanceof Error) return undefined
  const key = Array.isArray(parsed) ? parsed[0] : parsed
  return key?.isPrivateKey() ? `${key.type} ${key.getPublicSSH().toString('base64')}` : undefined
}

/** Docker comes with the golden image, or with its stage of an installation. */
const hasDocker = (machine: ProgramMachine): boolean =>
  isGolden(machine.server) || hasReached(machine.moment.install, 'swarm') || isPrepared(machine)

const hasLogin = ({ login = {} }: ProgramMachine): boolean => LOGIN_NAMES.some(name => login[name])

const base64 = (text: string) => Buffer.from(text).toString('base64')

const noCluster = fail(69, 'Consul and Nomad are not simulated: this machine is a pretended one.')

const noSpace = fail(1, 'mktemp: failed to create file: No space left on device')
