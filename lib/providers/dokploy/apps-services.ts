/** Projects, environments, applications, compose stacks, their variables and domains. */

import { LandfallError } from '../../errors.ts'
import type { DatabaseKind, DokployApps, Environment, ListedService, Project } from '../ports/dokploy-apps.ts'
import {
  fromWireApplication,
  fromWireCompose,
  toWireBuild,
  toWireComposeSource,
  toWireDomain,
  toWireSettings,
  toWireSource,
} from './apps-wire.ts'
import { clean } from './client.ts'
import { renderEnv } from './dotenv.ts'
import { exactly, flagIn, idIn, listIn, objectIn, type Requests, type Row, rowOf, rowsOf, textIn } from './requests.ts'

/** A REST body over 1 MB is refused with 413 (facts/dokploy 4). */
const BODY_LIMIT_BYTES = 1_000_000

type Calls = Pick<
  DokployApps,
  | 'listProjects'
  | 'createProject'
  | 'createEnvironment'
  | 'readService'
  | 'createService'
  | 'setDescription'
  | 'setSource'
  | 'setBuild'
  | 'setSettings'
  | 'setCompose'
  | 'setEnv'
  | 'readCommand'
  | 'readComposeFile'
  | 'createDomain'
  | 'setDomain'
  | 'deleteDomain'
  | 'setFile'
  | 'createVolume'
>

export const serviceCalls = (requests: Requests): Calls => {
  const listProjects = async (): Promise<readonly Project[]> =>
    Promise.all(
      rowsOf(await requests.get('project.all'), '/api/project.all').map(async row => ({
        id: idIn(row, 'projectId', '/api/project.all'),
        name: textIn(row, 'name'),
        description: textIn(row, 'description'),
        environments: await Promise.all(listIn(row, 'environments').map(readEnvironment)),
      })),
    )

  /** The list of projects tells an owner the ids of databases and not their names, which each environment's own answer has. */
  const readEnvironment = async (row: Row): Promise<Environment> => {
    const environmentId = idIn(row, 'environmentId', '/api/project.all')
    return DATABASE_KINDS.some(kind => listIn(row, kind).length > 0)
      ? fromWireEnvironment(rowOf(await requests.get('environment.one', { environmentId }), '/api/environment.one'))
      : fromWireEnvironment(row)
  }

  const readService: Calls['readService'] = async ({ kind, id }) =>
    kind === 'application'
      ? fromWireApplication(await requests.get('application.one', { applicationId: id }))
      : fromWireCompose(await requests.get('compose.one', { composeId: id }))

  /** What carries our nonce among those of one name; somebody else's namesake is an error. */
  const findMade = async (environmentId: string, kind: string, name: string): Promise<ListedService | undefined> => {
    const environment = (await listProjects()).flatMap(project => project.environments).find(each => each.id === environmentId)
    return exactly(environment?.services.filter(each => each.kind === kind) ?? [], name, kind)
  }

  return {
    listProjects,
    readService,

    createProject: ({ name, description }) =>
      requests.create(
        `project ${name}`,
        'project.create',
        { name, description },
        json => {
          const row = rowOf(json, '/api/project.create')
          return {
            projectId: idIn(objectIn(row, 'project'), 'projectId', '/api/project.create'),
            environmentId: idIn(objectIn(row, 'environment'), 'environmentId', '/api/project.create'),
          }
        },
        async () => {
          const project = exactly(
            (await listProjects()).filter(each => each.description === description),
            name,
            'project',
          )
          const environment = project?.environments.find(each => each.isDefault)
          return project && environment ? { projectId: project.id, environmentId: environment.id } : undefined
        },
      ),

    createEnvironment: ({ projectId, name, description }) =>
      requests.create(
        `environment ${name}`,
        'environment.create',
        { projectId, name, description },
        json => ({ id: idIn(rowOf(json, '/api/environment.create'), 'environmentId', '/api/environment.create') }),
        async () => exactly((await listProjects()).find(each => each.id === projectId)?.environments ?? [], name, 'environment'),
      ),

    createService: ({ kind, environmentId, name, description, compose }) =>
      requests.create(
        `${kind} ${name}`,
        `${kind}.create`,
        {
          name,
          environmentId,
          description,
          ...(kind === 'compose' && compose
            ? {
                composeType: compose.type,
                // Left out, the source would be a GitHub App's (facts/dokploy 6).
                sourceType: compose.file ? 'raw' : 'git',
                ...(compose.file ? { composeFile: compose.file.reveal() } : {}),
              }
            : {}),
        },
        json => ({ kind, id: idIn(rowOf(json, `/api/${kind}.create`), `${kind}Id`, `/api/${kind}.create`) }),
        async () => {
          const made = await findMade(environmentId, kind, name)
          if (!made) return undefined
          const service = await readService({ kind, id: made.id })
          if (service.description === description) return { kind, id: made.id }
          throw new LandfallError('name_taken', `Somebody else made the ${kind} ${clean(name)} at the same moment.`, {
            hint: 'Run the same command again: it shows what is there.',
          })
        },
      ),

    async setDescription({ kind, id }, description) {
      await requests.set(`${kind}.update`, { [`${kind}Id`]: id, description })
    },
    async setSource(applicationId, source) {
      const row = rowOf(await requests.get('application.one', { applicationId }), '/api/application.one')
      const { procedure, body } = toWireSource(applicationId, source, row)
      await requests.set(procedure, body)
    },
    async setBuild(applicationId, build) {
      await requests.set('application.saveBuildType', toWireBuild(applicationId, build))
    },
    async setSettings(applicationId, settings) {
      await requests.set('application.update', toWireSettings(applicationId, settings))
    },
    async setCompose(composeId, change) {
      const { type, source, file, path, command, autoDeploy } = change
      const body: Row = {
        ...(type === undefined ? {} : { composeType: type }),
        ...(source === undefined ? {} : toWireComposeSource(source)),
        ...(file === undefined ? {} : { composeFile: file.reveal() }),
        ...(path === undefined ? {} : { composePath: path }),
        ...(command === undefined ? {} : { command }),
        ...(autoDeploy === undefined ? {} : { autoDeploy }),
      }
      // An update with nothing to set is answered 500 (facts/dokploy 4).
      if (Object.keys(body).length > 0) await requests.set('compose.update', { composeId, ...body })
    },
    async readCommand(composeId) {
      const command = await requests.get('compose.getDefaultCommand', { composeId })
      if (typeof command !== 'string')
        throw new LandfallError('network', "Dokploy's answer to /api/compose.getDefaultCommand is no command.")
      return command.replace(/^docker /, '')
    },

    async readComposeFile(composeId) {
      const text = await requests.get('compose.getConvertedCompose', { composeId })
      if (typeof text === 'string') return text
      throw new LandfallError('network', "Dokploy's answer to /api/compose.getConvertedCompose is no compose file.")
    },

    async setEnv(ref, env) {
      const text = renderEnv(env)
      if (Buffer.byteLength(text) > BODY_LIMIT_BYTES)
        throw new LandfallError('config', `The variables have ${Buffer.byteLength(text)} bytes; Dokploy takes at most 1 MB.`, {
          hint: 'Keep large values in a file or a volume.',
        })
      if (ref.kind === 'compose') {
        await requests.set('compose.saveEnvironment', { composeId: ref.id, env: text, createEnvFile: true })
        return
      }
      // The other texts come along: the call replaces all of them (facts/dokploy 6).
      const row = rowOf(await requests.get('application.one', { applicationId: ref.id }), '/api/application.one')
      await requests.set('application.saveEnvironment', {
        applicationId: ref.id,
        env: text,
        buildArgs: nullable(row.buildArgs),
        buildSecrets: nullable(row.buildSecrets),
        createEnvFile: row.createEnvFile !== false,
      })
    },

    async createDomain(ref, domain) {
      const owner = ref.kind === 'application' ? { applicationId: ref.id } : { composeId: ref.id }
      await requests.create(
        `domain ${domain.host}`,
        'domain.create',
        { ...owner, domainType: ref.kind, ...toWireDomain(domain) },
        () => true,
        async () => {
          const { domains } = await readService(ref)
          return domains.some(each => each.host === domain.host && each.path === domain.path) || undefined
        },
      )
    },
    async setDomain(domainId, domain) {
      await requests.set('domain.update', { domainId, ...toWireDomain(domain), enabled: true })
    },
    async deleteDomain(domainId) {
      try {
        await requests.set('domain.delete', { domainId })
      } catch (error) {
        // Gone is what was wanted.
        if (!(error instanceof LandfallError) || error.code !== 'not_found') throw error
      }
    },
    async setFile(composeId, { id, name, text }) {
      const body = {
        type: 'file',
        content: text,
        filePath: name,
        // Wanted by Dokploy and without effect for a stack, whose file says what is mounted.
        mountPath: `/${name}`,
        serviceType: 'compose',
      }
      if (id !== undefined) await requests.set('mounts.update', { mountId: id, composeId, ...body })
      else
        await requests.create(
          `file ${name}`,
          'mounts.create',
          { ...body, serviceId: composeId },
          () => true,
          async () => {
            const { mounts } = await readService({ kind: 'compose', id: composeId })
            return mounts.some(each => each.file?.name === name) || undefined
          },
        )
    },
    async createVolume(applicationId, { volume, path }) {
      await requests.create(
        `volume ${volume}`,
        'mounts.create',
        { type: 'volume', volumeName: volume, mountPath: path, serviceId: applicationId, serviceType: 'application' },
        () => true,
        async () => {
          const { mounts } = await readService({ kind: 'application', id: applicationId })
          return mounts.some(each => each.volume === volume && each.path === path) || undefined
        },
      )
    },
  }
}

const nullable = (value: unknown): string | null => (typeof value === 'string' ? value : null)

const DATABASE_KINDS = ['postgres', 'mysql', 'mariadb', 'mongo', 'redis'] as const satisfies readonly DatabaseKind[]

const LISTS = [
  ['applications', 'application'],
  ['compose', 'compose'],
  ...DATABASE_KINDS.map(kind => [kind, kind] as const),
] as const

const fromWireEnvironment = (row: Row): Environment => ({
  id: idIn(row, 'environmentId', 'an environment'),
  name: textIn(row, 'name'),
  isDefault: flagIn(row, 'isDefault'),
  services: LISTS.flatMap(([list, kind]) =>
    listIn(row, list).map(service => ({
      kind,
      id: idIn(service, `${kind}Id`, 'an environment'),
      // Taken for nameless, it would be made once more.
      name: idIn(service, 'name', 'an environment'),
    })),
  ),
})
