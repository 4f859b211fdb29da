/** Finds the stack that a command is about: its configuration, its environment, its files, and the hosts it runs on. */

import { lookup } from 'node:dns/promises'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import { dirname, isAbsolute, join, relative, resolve } from 'node:path'
import { parse as parseDotenv } from 'dotenv'
import { describeHost } from '../../compose.ts'
import { readConfigFile } from '../../config-file.ts'
import { systemClock } from '../../engine/clock.ts'
import { writeFileAtomic } from '../../engine/files.ts'
import { createMeter, type Meter } from '../../engine/meter.ts'
import { LandfallError } from '../../errors.ts'
import { listed } from '../../estate/words.ts'
import { createDockerHost } from '../../providers/docker/docker.ts'
import { createLocalTransport, createSshTransport, type Transport } from '../../providers/docker/transport.ts'
import type { DockerHost } from '../../providers/ports/docker.ts'
import { flagValues, type Session } from '../../script.ts'
import { Secret } from '../../secret.ts'
import type { StackHost } from '../../steps/stack-world.ts'
import { MAX_COMPOSE_BYTES, mentionedVariables } from '../compose-file.ts'
import { ENVIRONMENTS, parseStacks, type StackConfig, type StackEnvironment, stackOfFile } from '../config.ts'
import type { FileText } from '../model.ts'

export interface OpenedStack {
  readonly stack: StackConfig
  readonly environment: StackEnvironment
  /** Absolute folder that the configuration's paths start from. */
  readonly base: string
  /** Absolute path of the Compose file here. */
  readonly composePath: string
  /** Values for `${…}` from our own environment. */
  readonly variables: Readonly<Record<string, string>>
  /** Names that the environment's env file has a value for, where that file is here. */
  readonly envFileNames: readonly string[]
  /** nginx's files here, by absolute path. */
  readonly nginxFiles: readonly FileText[]
  /** For messages: a path as the operator would name it. */
  readonly shown: (path: string) => string
}

/** A big file is read once for all environments; what is no file a person keeps is refused before it is read. */
function readText(path: string, shown: string): string {
  if (!existsSync(path))
    throw new LandfallError('config', `There is no ${shown}.`, {
      hint: 'Name the right file: --file PATH, or "file" in the stack’s environment.',
    })
  const { size } = statSync(path)
  if (size > MAX_COMPOSE_BYTES)
    throw new LandfallError('config', `${shown} has ${size} bytes; a Compose file has at most ${MAX_COMPOSE_BYTES}.`, {
      hint: 'Name the right file.',
    })
  return readFileSync(path, 'utf8')
}

/** The stack that the flags and the configuration name. @throws usage | config */
export function openStack(session: Session): OpenedStack {
  if (session.args.sandbox !== undefined)
    throw new LandfallError('usage', 'A stack has no stand-in: its Docker host is a real one, or none.', {
      hint: 'Without --sandbox, audit, status and deploy --plan change nothing.',
    })
  const [file] = flagValues(session, 'file')
  const [nginx] = flagValues(session, 'nginx')
  const configPath = session.args.config
  if (file !== undefined) {
    const stack = stackOfFile(file, nginx === undefined ? {} : { nginxConfig: nginx })
    return finishOpening(session, stack, process.cwd())
  }
  const text = existsSync(configPath) ? readConfigFile(configPath) : undefined
  if (text === undefined || !/"stacks"\s*:/.test(text))
    throw new LandfallError(
      'config',
      text === undefined ? `There is no ${configPath} here.` : `${configPath} describes no stacks.`,
      {
        hint: 'Look at a whole example: bun scripts/stack.ts --config examples/compose-rolling.json  — or at one file: bun scripts/stack.ts audit --file docker-compose.yml --nginx nginx/',
      },
    )
  const stacks = parseStacks(text, configPath)
  const [name] = flagValues(session, 'stack')
  const chosen = name === undefined && stacks.length === 1 ? stacks[0] : stacks.find(stack => stack.name === name)
  if (!chosen)
    throw new LandfallError(
      'usage',
      `${name === undefined ? 'It is not said which stack is meant' : `There is no stack "${name}"`}; there are ${listed(stacks.map(each => each.name))}.`,
      {
        hint: `--stack ${stacks[0]?.name ?? 'NAME'}`,
      },
    )
  return finishOpening(session, chosen, dirname(resolve(configPath)))
}

function finishOpening(session: Session, stack: StackConfig, base: string): OpenedStack {
  const environment = chooseEnvironment(session, stack)
  const composePath = resolve(base, environment.file)
  const shown = (path: string) => relative(process.cwd(), path) || path
  const text = existsSync(composePath) ? readText(composePath, shown(composePath)) : ''
  const envPath = resolve(base, environment.envFile ?? join(dirname(environment.file), '.env'))
  const fromFile = existsSync(envPath) ? parseDotenv(readFileSync(envPath)) : {}
  const fromUs = Object.fromEntries(
    mentionedVariables(text).flatMap(name => {
      // Names that mean something to the programs that run with them never come from a Compose file.
      const value = /^(?:PATH|HOME|IFS|ENV|LD_\w+|DOCKER_\w+|COMPOSE_\w+|SSH_\w+)$/.test(name)
        ? undefined
        : session.environment.lookup(name)
      return value === undefined ? [] : [[name, value]]
    }),
  )
  const nginxPath = resolve(base, stack.nginx.config)
  return {
    stack,
    environment,
    base,
    composePath,
    variables: fromUs,
    envFileNames: Object.keys(fromFile),
    nginxFiles: readFolder(nginxPath),
    shown,
  }
}

function chooseEnvironment(session: Session, stack: StackConfig): StackEnvironment {
  const [named] = flagValues(session, 'env')
  const known = stack.environments.map(({ name }) => name)
  const found =
    named === undefined
      ? stack.environments.length === 1
        ? stack.environments[0]
        : undefined
      : stack.environments.find(({ name }) => name === named)
  if (found) return found
  const what =
    named === undefined ? 'It is not said which environment is meant' : `The stack ${stack.name} has no environment "${named}"`
  throw new LandfallError('usage', `${what}; it has ${listed(known.length > 0 ? known : ENVIRONMENTS)}.`, {
    hint: `--env ${known[0] ?? 'prod'}`,
  })
}

const MAX_NGINX_FILES = 200

/** nginx's files in a folder, or the one file. */
function readFolder(path: string): readonly FileText[] {
  if (!existsSync(path)) return []
  if (statSync(path).isFile()) return [{ path, text: readFileSync(path, 'utf8') }]
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && entry.name.endsWith('.conf') && !entry.name.startsWith('.'))
    .slice(0, MAX_NGINX_FILES)
    .map(entry => join(entry.parentPath, entry.name))
    .sort()
    .map(each => ({ path: each, text: readFileSync(each, 'utf8') }))
}

/** Where a stack's journal and pins lie here. */
export const stackDirectory = ({ stack, environment }: Pick<OpenedStack, 'stack' | 'environment'>): string =>
  join(resolve('.landfall'), 'stacks', `${stack.name}-${environment.name}`)

export interface OpenedHosts {
  readonly hosts: readonly StackHost[]
  readonly meter: Meter
  close(): Promise<void>
}

/** The hosts of an environment, in the order in which they are deployed. @throws token_missing | config */
export async function openHosts(session: Session, opened: OpenedStack): Promise<OpenedHosts> {
  const { stack, environment, base, composePath, variables } = opened
  const meter = createMeter()
  const context = {
    clock: systemClock,
    meter,
    signal: session.signal,
    random: Math.random,
    log: (line: string) => session.reporter.log(line),
    beforeWrite: async () => {},
  }
  const stateDirectory = session.environment.lookup('LANDFALL_STACK_STATE')
  const make = (transport: Transport, place: { directory: string; texts?: readonly FileText[] }): DockerHost =>
    createDockerHost({
      place: {
        project: stack.project,
        nginx: stack.nginx.service,
        directory: place.directory,
        files: [composePath],
        ...(environment.envFile === undefined
          ? {}
          : { envFile: environment.on === 'local' ? resolve(base, environment.envFile) : environment.envFile }),
        ...(place.texts === undefined ? {} : { texts: place.texts }),
        ...(stateDirectory === undefined ? {} : { stateDirectory }),
      },
      transport,
      context,
    })
  if (environment.on === 'local') {
    const docker = make(createLocalTransport(), { directory: dirname(composePath) })
    return { hosts: [{ key: 'this machine', docker, variables }], meter, close: () => docker.close() }
  }
  const directory = environment.directory ?? '/'
  const { createMachines } = await import('../../providers/ssh/ssh.ts')
  const identityFile = await findIdentity(session, opened)
  const machines = createMachines({
    directory: stackDirectory(opened),
    route: { kind: 'direct' },
    context,
    ...(identityFile === undefined ? {} : { identities: [{ file: identityFile }] }),
  })
  const prefix = environment.name.toUpperCase()
  const user = session.environment.lookup(`${prefix}_DEPLOY_USER`) ?? 'root'
  const names = deployHosts(session, environment)
  const hosts = await Promise.all(
    names.map(async name => {
      const { host, port } = splitPort(name)
      const hostKey =
        environment.hostKeys[name] ??
        environment.hostKeys[host] ??
        (names.length === 1 ? session.environment.lookup(`${prefix}_DEPLOY_HOST_KEY`) : undefined)
      if (hostKey === undefined)
        throw new LandfallError(
          'host_key',
          `It is not known which SSH host key ${host} has, and nobody is trusted at first sight.`,
          {
            hint: `Read it on the host itself (/etc/ssh/ssh_host_ed25519_key.pub) and write it to "host_keys" of ${environment.name} in ${stack.source ?? 'the configuration'}, or to ${prefix}_DEPLOY_HOST_KEY.`,
          },
        )
      const address = isIP(host) === 0 ? (await lookup(host)).address : host
      const target = {
        name: host,
        address,
        port,
        user,
        hostKeyAlias: `stack-${host}`,
        hostKey: hostKey.split(' ').slice(0, 2).join(' '),
      }
      const texts = [{ path: composePath, text: readText(composePath, opened.shown(composePath)) }]
      const docker = make(createSshTransport(machines, target), { directory, texts })
      const files = opened.nginxFiles.map(({ path, text }) => ({
        path: join(directory, relative(dirname(composePath), path)),
        text,
      }))
      // The host's own env file holds the host's own values; ours win where both name one.
      return { key: name, docker, variables, ...(files.length > 0 ? { nginxFiles: files } : {}) }
    }),
  )
  return { hosts, meter, close: async () => void (await Promise.allSettled(hosts.map(({ docker }) => docker.close()))) }
}

const splitPort = (name: string): { host: string; port: number } => {
  const match = /^(.+):(\d+)$/.exec(name)
  return match?.[1] && match[2] && !match[1].includes(':') ? { host: match[1], port: Number(match[2]) } : { host: name, port: 22 }
}

function deployHosts(session: Session, { name }: StackEnvironment): readonly string[] {
  const variable = `${name.toUpperCase()}_DEPLOY_HOST`
  const hosts = (session.environment.lookup(variable) ?? '').split(/[\s,]+/).filter(each => each !== '')
  if (hosts.length > 0) return hosts
  throw new LandfallError('token_missing', `${variable} is not set.`, {
    hint: `Set it to the host's address, several with commas between; also ${name.toUpperCase()}_DEPLOY_USER (default root) and ${name.toUpperCase()}_DEPLOY_SSH_KEY (the private key).`,
  })
}

/** The private key from the secret, as a file for ssh; the agent and the usual files without one. */
async function findIdentity(session: Session, opened: OpenedStack): Promise<string | undefined> {
  const variable = `${opened.environment.name.toUpperCase()}_DEPLOY_SSH_KEY`
  const value = session.environment.lookup(variable)
  if (value === undefined) return session.environment.sshKeyFile
  if (!value.includes('PRIVATE KEY')) {
    if (isAbsolute(value) && existsSync(value)) return value
    throw new LandfallError('config', `${variable} is neither a private key nor the path of one.`, {
      hint: 'Put the whole text of the key file into it.',
    })
  }
  const secret = new Secret(variable, value)
  const { mkdirSync } = await import('node:fs')
  mkdirSync(stackDirectory(opened), { recursive: true, mode: 0o700 })
  const path = join(stackDirectory(opened), 'id_deploy')
  await writeFileAtomic(path, `${secret.reveal().trim()}\n`, 0o600)
  return path
}

export const whoAmI = (): string => describeHost().who
