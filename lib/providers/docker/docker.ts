/** The Docker host port: each action is one program on the host, whether that is this machine or one behind SSH. */

import { LandfallError } from '../../errors.ts'
import type { ProviderContext } from '../context.ts'
import type { DockerHost, HostFacts, ProxyFiles, ReleaseText, StackPlace, StateText } from '../ports/docker.ts'
import type { ProgramInput, ProgramResult } from '../ports/machine.ts'
import { holdStack } from './hold.ts'
import { STACK_PROGRAMS, type StackProgramName, stackProgram } from './programs.ts'
import type { Transport } from './transport.ts'
import {
  type Answer,
  decoded,
  encoded,
  fromWireContainer,
  fromWireHashes,
  fromWireHealth,
  fromWireImages,
  fromWireImageUse,
  fromWireSwitch,
  lines,
  parseAnswer,
  unpacked,
} from './wire.ts'

export interface DockerHostOptions {
  readonly place: StackPlace
  readonly transport: Transport
  readonly context: Pick<ProviderContext, 'meter' | 'beforeWrite' | 'clock'>
}

/** Exit codes of the programs; see programs/common.sh and own.sh. */
const EXIT = { wrongFile: 65, missing: 66, unavailable: 69, busy: 75, takenOver: 76 } as const

export type RunProgram = (name: StackProgramName, input?: ProgramInput, signal?: AbortSignal) => Promise<ProgramResult>

export function createDockerHost({ place, transport, context }: DockerHostOptions): DockerHost {
  let composeCommand = ''
  let runId = ''
  /** By the texts they are of: Compose's hash of a text stays the same. */
  const hashed = new Map<string, Pick<HostFacts, 'hashes' | 'looseHashes'>>()

  const attempt: RunProgram = async (name, input = {}, signal) => {
    const { accepts, effect } = STACK_PROGRAMS[name]
    if (effect === 'write') await context.beforeWrite({ provider: 'docker', method: 'RUN', path: `/${place.project}/${name}` })
    context.meter.count('docker', effect)
    const isOwn = (accepts as readonly string[]).includes('RUN')
    const where = {
      PROJECT: place.project,
      DIRECTORY: place.directory,
      STATE: place.stateDirectory ?? '',
      COMPOSE: composeCommand,
    }
    return transport.run(stackProgram(name), { ...where, ...(isOwn ? { RUN: runId } : {}), ...input }, signal)
  }

  const run = async (name: StackProgramName, input?: ProgramInput, signal?: AbortSignal): Promise<Answer> => {
    const result = await attempt(name, input, signal)
    if (result.exitCode !== 0) throw failure(name, result, transport.name)
    return parseAnswer(result.stdout)
  }

  return {
    name: transport.name,

    async resolve(variables, signal) {
      const lines = Object.entries(variables).map(([name, value]) => `${name} ${Buffer.from(value).toString('base64')}`)
      const answer = await run(
        'stack-resolve',
        {
          FILES: place.texts ? '' : place.files.join('\n'),
          TEXTS: (place.texts ?? []).map(({ text }) => encoded(text)).join('\n'),
          ENVFILE: place.envFile ?? '',
          VARIABLES: lines.join('\n'),
        },
        signal,
      )
      composeCommand = answer.word('compose')
      refuseUnset(answer.packed('warnings'), transport.name)
      return answer.packed('config')
    },

    async readRelease(id, signal) {
      const answer = await run('stack-read-release', { RELEASE: id }, signal)
      composeCommand = answer.word('compose')
      return answer.packed('config')
    },

    async look(config, loose, images, paths, signal) {
      const known = hashed.get(config + loose)
      const texts = known ? {} : { CONFIG: config, LOOSE: loose }
      const asked = { IMAGES: images.join(' '), NGINX: place.nginx, PATHS: paths.map(encoded).join(' ') }
      const answer = await run('stack-look', { ...texts, ...asked }, signal)
      const hashes = known ?? {
        hashes: fromWireHashes(answer.packed('hashes')),
        looseHashes: fromWireHashes(answer.packed('loose_hashes')),
      }
      hashed.set(config + loose, hashes)
      const state = answer.has('state') ? { state: answer.packed('state') } : {}
      return {
        ...hashes,
        containers: lines(answer.packed('containers')).map(fromWireContainer),
        images: fromWireImages(answer.packed('images'), images),
        nginxFiles: answer.all('nginx_file').map(line => {
          const [path = '', text = ''] = line.split(' ')
          return { path: decoded(path), text: unpacked(text) }
        }),
        ...state,
        manifests: answer.all('manifest').map(unpacked),
      }
    },

    async versions(signal) {
      const answer = await run('stack-versions', {}, signal)
      return { docker: answer.word('docker'), compose: answer.word('compose_version') }
    },

    async hold(id, who, signal) {
      const held = await holdStack({ attempt, place, runId: id, who, signal, clock: context.clock, host: transport.name })
      runId = id
      return held
    },

    async pull(images, signal) {
      const answer = await run('stack-pull', { IMAGES: images.join(' ') }, signal)
      return answer.all('failed').map(line => {
        const [image = '', why = ''] = line.split(' ')
        return { image: decoded(image), why: decoded(why) }
      })
    },

    async record(release) {
      await run('stack-record', toWireRelease(release))
    },

    async setState(state) {
      await run('stack-set-state', toWireState(state))
    },

    async createDark(release, state, { services, others, known }) {
      const counts = Object.entries(services).map(([service, count]) => `${service} ${count}`)
      const input = { SERVICES: counts.join('\n'), OTHERS: others.join(' '), KNOWN: known.join(' ') }
      return (await run('stack-create-dark', { ...toWireRelease(release), ...toWireState(state), ...input }))
        .all('made')
        .map(line => {
          const [service = '', id = ''] = line.split(' ')
          return { service, id }
        })
    },

    async start(ids) {
      await run('stack-start', { IDS: ids.join(' ') })
    },

    async waitHealthy(ids, timeoutMs, signal) {
      const answer = await run('stack-wait-healthy', { IDS: ids.join(' '), LIMIT_S: seconds(timeoutMs) }, signal)
      return answer.all('health').map(fromWireHealth)
    },

    async publish(containers, state, also, timeoutMs) {
      const aliases = containers.flatMap(({ id, aliases }) =>
        Object.entries(aliases).flatMap(([network, names]) => names.map(name => `${id} ${network} ${name}`)),
      )
      const answer = await run('stack-publish', {
        ...toWireState(state),
        IDS: containers.map(({ id }) => id).join(' '),
        ALIASES: aliases.join('\n'),
        ALSO: also.join(' '),
        LIMIT_S: seconds(timeoutMs),
      })
      return {
        healths: answer.all('health').map(fromWireHealth),
        containers: lines(answer.packed('containers')).map(fromWireContainer),
      }
    },

    async switchNginx({ files, gone, proof, ended = [], state }) {
      const answer = await run('stack-switch-nginx', {
        ...(state ? toWireState(state) : {}),
        NGINX: place.nginx,
        FILE_LIST: toWireFiles({ files, gone }),
        PROOF_TOKEN: proof?.token ?? '',
        PROOF_ADDRESS: proof?.address ?? '',
        PROOF_PORT: String(proof?.port ?? 0),
        IDS: ended.join(' '),
      })
      return fromWireSwitch(answer)
    },

    async setNginxFiles(files) {
      await run('stack-set-nginx-files', { FILE_LIST: toWireFiles(files) })
    },

    async drain(workers, limitMs) {
      if (workers.length === 0) return true
      const input = { NGINX: place.nginx, WORKERS: workers.join(' '), LIMIT_MS: String(Math.round(limitMs)) }
      return (await run('stack-drain', input)).word('drained') === 'yes'
    },

    async stop(ids, graceS, relief) {
      const input = { IDS: ids.join(' '), GRACE_S: String(Math.ceil(graceS)), RELIEF: relief.join(' ') }
      return (await run('stack-stop', input)).all('fallen')
    },

    async remove(ids, graceS) {
      await run('stack-remove', { IDS: ids.join(' '), GRACE_S: String(Math.ceil(graceS)) })
    },

    async up(release, { service, others, recreate, alone, ends }, timeoutMs) {
      const yes = (value: boolean) => (value ? 'yes' : 'no')
      await run('stack-up', {
        RELEASE: release,
        SERVICE: service,
        OTHERS: others.join(' '),
        RECREATE: yes(recreate),
        ALONE: yes(alone),
        ENDS: yes(ends),
        LIMIT_S: seconds(timeoutMs),
      })
    },

    async ask(urls, signal) {
      const answer = await run('stack-ask', { URLS: urls.map(({ url, host }) => `${url} ${host}`).join('\n') }, signal)
      return answer.all('status').map(Number)
    },

    async listImages(repositories, signal) {
      const answer = await run('stack-list-images', { REPOSITORIES: repositories.join(' ') }, signal)
      const used = new Set(lines(answer.packed('used')))
      return lines(answer.packed('images')).map(line => fromWireImageUse(line, used))
    },

    async removeImages(ids) {
      return (await run('stack-remove-images', { IDS: ids.join(' ') })).all('removed')
    },

    close: () => transport.close(),
  }
}

/** Compose goes on with nothing in a variable's place and only says so, in these words (compose-go, `interpolation`); it has no code for it. */
function refuseUnset(warnings: string, where: string): void {
  const names = [...warnings.matchAll(/The \\?"(\w+)\\?" variable is not set/g)].map(match => match[1] ?? '')
  if (names.length === 0) return
  throw new LandfallError('config', `The Compose file uses ${[...new Set(names)].join(', ')}, which has no value on ${where}.`, {
    hint: 'Set it in the environment’s env file or in your own environment, or give it a default in the Compose file.',
  })
}

const toWireRelease = ({ id, config, manifest }: ReleaseText) => ({ RELEASE: id, CONFIG: config, MANIFEST: manifest })
const toWireState = ({ text, keep }: StateText) => ({ TEXT: text, KEEP: keep.length === 0 ? '' : ` ${keep.join(' ')} ` })
/** See programs/files.sh. */
const toWireFiles = ({ files, gone }: ProxyFiles): string =>
  [...files.map(({ path, text }) => `${encoded(path)} ${encoded(text)}`), ...gone.map(path => `${encoded(path)} -`)].join('\n')
const seconds = (ms: number): string => String(Math.max(1, Math.ceil(ms / 1000)))
function failure(name: StackProgramName, { exitCode, stderr }: ProgramResult, where: string): LandfallError {
  const said = stderr.trim().slice(-2000) || `${name} ended with exit code ${exitCode}`
  switch (exitCode) {
    case EXIT.wrongFile:
      return new LandfallError('config', `Compose does not accept the stack's files on ${where}: ${said}`, {
        hint: 'Correct them; see what Compose makes of them with: docker compose config',
      })
    case EXIT.missing:
      return new LandfallError('not_found', `On ${where}: ${said}`, { hint: 'bun scripts/stack.ts status' })
    case EXIT.unavailable:
      return new LandfallError('config', `On ${where}: ${said}`, {
        hint: 'Install Docker Engine and Compose v2 there (docs.docker.com/engine/install), then run the same command again.',
      })
    case EXIT.busy:
    case EXIT.takenOver:
      return new LandfallError('locked', `On ${where}: ${said}`, {
        hint: 'Nothing more was done. See how it stands: bun scripts/stack.ts status',
      })
    default:
      return new LandfallError('vendor', `Docker on ${where} did not do it (${name}): ${said}`, {
        hint: 'Run the same command again: it looks first, and finishes or takes back what was begun.',
      })
  }
}
