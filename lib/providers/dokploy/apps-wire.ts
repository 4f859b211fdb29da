/** Dokploy's rows and ours: what is read out of its answers, and what it wants in a request. */

import { createHash } from 'node:crypto'
import { Secret } from '../../secret.ts'
import type {
  Application,
  ApplicationSettings,
  Build,
  Compose,
  Domain,
  EnvSet,
  Health,
  ListedDeployment,
  Mount,
  ServiceKind,
  Source,
} from '../ports/dokploy-apps.ts'
import { parseEnv } from './dotenv.ts'
import { flagIn, given, idIn, listIn, numberIn, objectIn, type Row, rowOf, textIn, wordsIn } from './requests.ts'

const NANO = 1_000_000
const STATUSES = ['idle', 'running', 'done', 'error'] as const
const BUILD_TYPES = ['dockerfile', 'nixpacks', 'railpack', 'static', 'heroku_buildpacks', 'paketo_buildpacks'] as const
const CERTIFICATES = ['letsencrypt', 'custom', 'none'] as const

export const statusOf = (value: unknown): (typeof STATUSES)[number] => STATUSES.find(each => each === value) ?? 'idle'

/** Rolling: the new container first, and back by itself when it fails. Times in nanoseconds; watched for 30 s. */
const START_FIRST = { Parallelism: 1, Order: 'start-first', FailureAction: 'rollback', Monitor: 30_000 * NANO } as const

/** The env text as variables. Nothing of it may ever be printed. */
const fromWireEnv = (row: Row): EnvSet => parseEnv(textIn(row, 'env'))

export function fromWireApplication(wire: unknown): Application {
  const row = rowOf(wire, '/api/application.one')
  return {
    kind: 'application',
    ...fromWireBase(row, 'application'),
    source: fromWireSource(row),
    build: fromWireBuild(row),
    settings: fromWireSettings(row),
    status: statusOf(row.applicationStatus),
  }
}

export function fromWireCompose(wire: unknown): Compose {
  const row = rowOf(wire, '/api/compose.one')
  const file = textIn(row, 'composeFile')
  return {
    kind: 'compose',
    ...fromWireBase(row, 'compose'),
    source: fromWireSource(row),
    type: row.composeType === 'stack' ? 'stack' : 'docker-compose',
    file: new Secret(`compose file ${createHash('sha256').update(file).digest('hex').slice(0, 12)}`, file),
    path: textIn(row, 'composePath'),
    command: textIn(row, 'command'),
    autoDeploy: flagIn(row, 'autoDeploy'),
    status: statusOf(row.composeStatus),
  }
}

function fromWireBase(row: Row, kind: ServiceKind) {
  const name = textIn(row, 'name')
  return {
    id: idIn(row, `${kind}Id`, `/api/${kind}.one`),
    name,
    appName: idIn(row, 'appName', `/api/${kind}.one`),
    description: textIn(row, 'description'),
    env: fromWireEnv(row),
    domains: listIn(row, 'domains').map(fromWireDomain),
    mounts: listIn(row, 'mounts').map(fromWireMount),
    // This answer lists them as they lie in the database.
    deployments: listIn(row, 'deployments')
      .map(fromWireDeployment)
      .toSorted((a, b) => (a.createdAt < b.createdAt ? 1 : a.createdAt > b.createdAt ? -1 : 0)),
    refreshToken: new Secret(`deploy token of ${name}`, textIn(row, 'refreshToken')),
  }
}

function fromWireSource(row: Row): Source {
  const watch = wordsIn(row, 'watchPaths')
  switch (row.sourceType) {
    case 'docker':
      return { kind: 'image', image: textIn(row, 'dockerImage') }
    case 'git': {
      const sshKeyId = textIn(row, 'customGitSSHKeyId')
      return {
        kind: 'git',
        url: textIn(row, 'customGitUrl'),
        branch: textIn(row, 'customGitBranch'),
        path: textIn(row, 'customGitBuildPath') || '/',
        watch,
        ...(sshKeyId === '' ? {} : { sshKeyId }),
      }
    }
    case 'github':
      return {
        kind: 'github',
        githubId: textIn(row, 'githubId'),
        owner: textIn(row, 'owner'),
        repository: textIn(row, 'repository'),
        branch: textIn(row, 'branch'),
        path: textIn(row, 'buildPath') || '/',
        watch,
      }
    case 'raw':
      return { kind: 'raw' }
    default:
      return { kind: 'other', name: textIn(row, 'sourceType') }
  }
}

const nonEmpty = (row: Row, name: string): string | undefined => textIn(row, name) || undefined

function fromWireBuild(row: Row): Build {
  return {
    type: BUILD_TYPES.find(each => each === row.buildType) ?? 'nixpacks',
    ...given('dockerfile', nonEmpty(row, 'dockerfile')),
    ...given('context', nonEmpty(row, 'dockerContextPath')),
    ...given('stage', nonEmpty(row, 'dockerBuildStage')),
    ...given('publish', nonEmpty(row, 'publishDirectory')),
    spa: flagIn(row, 'isStaticSpa'),
  }
}

function fromWireHealth(row: Row): Health | undefined {
  const health = objectIn(row, 'healthCheckSwarm')
  const command = wordsIn(health, 'Test')
  if (command.length === 0) return undefined
  return {
    // Docker's first word says how the rest is run.
    command: command[0] === 'CMD' ? command.slice(1) : command,
    intervalMs: numberIn(health, 'Interval') / NANO,
    timeoutMs: numberIn(health, 'Timeout') / NANO,
    startMs: numberIn(health, 'StartPeriod') / NANO,
    retries: numberIn(health, 'Retries'),
  }
}

function fromWireSettings(row: Row): ApplicationSettings {
  const update = objectIn(row, 'updateConfigSwarm')
  const isOurs = Object.entries(START_FIRST).every(([name, value]) => update[name] === value)
  const registry = flagIn(row, 'rollbackActive') ? nonEmpty(row, 'rollbackRegistryId') : undefined
  return {
    replicas: numberIn(row, 'replicas', 1),
    memoryBytes: numberIn(row, 'memoryLimit'),
    ...given('health', fromWireHealth(row)),
    update: isOurs ? 'start_first_rollback' : Object.keys(update).length === 0 ? 'default' : 'other',
    autoDeploy: flagIn(row, 'autoDeploy'),
    ...given('rollbackRegistryId', registry),
    ...given('registryId', nonEmpty(row, 'registryId')),
  }
}

export function fromWireDomain(row: Row): Domain {
  return {
    id: idIn(row, 'domainId', 'a domain'),
    host: textIn(row, 'host'),
    path: textIn(row, 'path') || '/',
    port: numberIn(row, 'port', 3000),
    ...given('service', nonEmpty(row, 'serviceName')),
    https: flagIn(row, 'https'),
    certificate: CERTIFICATES.find(each => each === row.certificateType) ?? 'none',
    ...given('resolver', nonEmpty(row, 'customCertResolver')),
    stripPath: flagIn(row, 'stripPath'),
    // Rows of older panels have no such field.
    enabled: row.enabled !== false,
  }
}

const fromWireMount = (row: Row): Mount => ({
  id: textIn(row, 'mountId'),
  type: row.type === 'bind' || row.type === 'file' ? row.type : 'volume',
  ...given('volume', nonEmpty(row, 'volumeName')),
  path: textIn(row, 'mountPath'),
  ...(row.type === 'file' ? { file: { name: textIn(row, 'filePath'), text: textIn(row, 'content') } } : {}),
})

export function fromWireDeployment(row: Row): ListedDeployment {
  const rollback = objectIn(row, 'rollback')
  const rollbackId = textIn(rollback, 'rollbackId')
  const status = row.status
  return {
    id: idIn(row, 'deploymentId', 'a deployment'),
    title: textIn(row, 'title'),
    description: textIn(row, 'description'),
    status: status === 'done' || status === 'error' || status === 'cancelled' ? status : 'running',
    createdAt: textIn(row, 'createdAt'),
    ...given('error', nonEmpty(row, 'errorMessage')),
    ...(rollbackId === ''
      ? {}
      : { rollback: { id: rollbackId, version: numberIn(rollback, 'version'), image: textIn(rollback, 'image') } }),
  }
}

/**
 * The procedure that sets an application's source, and everything that it wants: all fields, null where there is none. Those that only the
 * panel has words for, a login at the image's registry and submodules, come along from `row`: the call replaces all.
 */
export function toWireSource(applicationId: string, source: Source, row: Row): { procedure: string; body: Row } {
  switch (source.kind) {
    case 'image':
      return {
        procedure: 'application.saveDockerProvider',
        body: { applicationId, dockerImage: source.image, ...keptLogin(row) },
      }
    case 'git':
      return {
        procedure: 'application.saveGitProvider',
        body: {
          applicationId,
          customGitUrl: source.url,
          customGitBranch: source.branch,
          customGitBuildPath: source.path,
          customGitSSHKeyId: source.sshKeyId ?? null,
          watchPaths: source.watch.length > 0 ? source.watch : null,
          enableSubmodules: flagIn(row, 'enableSubmodules'),
        },
      }
    case 'github':
      return {
        procedure: 'application.saveGithubProvider',
        body: {
          applicationId,
          githubId: source.githubId,
          owner: source.owner,
          repository: source.repository,
          branch: source.branch,
          buildPath: source.path,
          triggerType: 'push',
          watchPaths: source.watch.length > 0 ? source.watch : null,
          enableSubmodules: flagIn(row, 'enableSubmodules'),
        },
      }
    default:
      throw new Error(`bug: an application cannot have the source ${source.kind}`)
  }
}

function keptLogin(row: Row) {
  const password = nonEmpty(row, 'password')
  return {
    username: nonEmpty(row, 'username') ?? null,
    password: password === undefined ? null : new Secret('registry password', password).reveal(),
    registryUrl: nonEmpty(row, 'registryUrl') ?? null,
  }
}

export const toWireBuild = (applicationId: string, build: Build): Row => ({
  applicationId,
  buildType: build.type,
  dockerfile: build.dockerfile ?? (build.type === 'dockerfile' ? 'Dockerfile' : null),
  dockerContextPath: build.context ?? null,
  dockerBuildStage: build.stage ?? null,
  herokuVersion: build.type === 'heroku_buildpacks' ? '24' : null,
  railpackVersion: build.type === 'railpack' ? '0.15.4' : null,
  publishDirectory: build.publish ?? null,
  isStaticSpa: build.spa,
})

export const toWireSettings = (applicationId: string, settings: ApplicationSettings): Row => ({
  applicationId,
  replicas: settings.replicas,
  memoryLimit: settings.memoryBytes === 0 ? null : String(settings.memoryBytes),
  healthCheckSwarm: settings.health
    ? {
        Test: /^CMD(-SHELL)?$|^NONE$/.test(settings.health.command[0] ?? '')
          ? settings.health.command
          : ['CMD', ...settings.health.command],
        Interval: settings.health.intervalMs * NANO,
        Timeout: settings.health.timeoutMs * NANO,
        StartPeriod: settings.health.startMs * NANO,
        Retries: settings.health.retries,
      }
    : null,
  ...(settings.update === 'start_first_rollback' ? { updateConfigSwarm: START_FIRST } : {}),
  autoDeploy: settings.autoDeploy,
  rollbackActive: settings.rollbackRegistryId !== undefined,
  rollbackRegistryId: settings.rollbackRegistryId ?? null,
  ...(settings.registryId === undefined ? {} : { registryId: settings.registryId }),
})

/** Fields of `compose.update` for a source. */
export function toWireComposeSource(source: Source): Row {
  switch (source.kind) {
    case 'raw':
      return { sourceType: 'raw' }
    case 'git':
      return {
        sourceType: 'git',
        customGitUrl: source.url,
        customGitBranch: source.branch,
        customGitSSHKeyId: source.sshKeyId ?? null,
        watchPaths: source.watch.length > 0 ? source.watch : null,
      }
    case 'github':
      return {
        sourceType: 'github',
        githubId: source.githubId,
        owner: source.owner,
        repository: source.repository,
        branch: source.branch,
        watchPaths: source.watch.length > 0 ? source.watch : null,
      }
    default:
      throw new Error(`bug: a compose stack cannot have the source ${source.kind}`)
  }
}

export const toWireDomain = (domain: Omit<Domain, 'id' | 'enabled'>): Row => ({
  host: domain.host,
  path: domain.path,
  port: domain.port,
  https: domain.https,
  certificateType: domain.certificate,
  customCertResolver: domain.resolver ?? null,
  stripPath: domain.stripPath,
  ...(domain.service === undefined ? {} : { serviceName: domain.service }),
})
