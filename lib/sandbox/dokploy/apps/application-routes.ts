/** `application.*`, `mounts.*` and `domain.*`: save calls that want every field, texts that are replaced as a whole. */

import { choice, flag, nullable, number, object, optional, text } from '../input.ts'
import { type Context, mutation, query, type Routes } from '../router.ts'
import { isoOf, randomText } from '../state.ts'
import { Refusal, refuse } from '../wire.ts'
import { routersOf } from './compose-file.ts'
import { listedDeployments } from './deployment-routes.ts'
import { enqueue, imageNow, runOf } from './jobs.ts'
import { APP_NAME, anything, BRANCH, certificate, id, matching, maybeFlag, maybeText, namedOnly, words } from './readers.ts'
import type { ServiceRow, WireRow } from './rows.ts'
import { handOver, newContainerId } from './runtime.ts'
import { addService, patchService, serviceOf, toWireService } from './service-routes.ts'

/** What a new application is. */
const NEW_APPLICATION: WireRow = {
  env: null,
  buildArgs: null,
  buildSecrets: null,
  createEnvFile: true,
  sourceType: 'github',
  buildType: 'nixpacks',
  autoDeploy: true,
  buildPath: '/',
  replicas: 1,
  triggerType: 'push',
  dockerfile: 'Dockerfile',
  dockerContextPath: null,
  dockerBuildStage: null,
  publishDirectory: null,
  isStaticSpa: null,
  healthCheckSwarm: null,
  updateConfigSwarm: null,
  rollbackActive: false,
  rollbackRegistryId: null,
  registryId: null,
  memoryLimit: null,
  watchPaths: null,
  dockerImage: null,
  customGitUrl: null,
  customGitBranch: null,
  customGitBuildPath: null,
  customGitSSHKeyId: null,
  applicationStatus: 'idle',
}

/** Runs `work` on a service, or gives the refusal. */
const withApplication = (context: Context, applicationId: string, work: (row: ServiceRow) => unknown): unknown => {
  const row = serviceOf(context, 'application', applicationId)
  return row instanceof Refusal ? row : work(row)
}

const save = (context: Context, { applicationId, ...columns }: { applicationId: string } & WireRow): unknown =>
  withApplication(context, applicationId, row => {
    patchService(context, row, columns)
    return true
  })

export const domainsOf = ({ platform }: Context, serviceId: string): WireRow[] =>
  platform.domains.all().filter(row => row.applicationId === serviceId || row.composeId === serviceId)

const toWireApplication = (context: Context, row: ServiceRow) => {
  const environment = context.platform.environments.get(row.environmentId)
  return {
    ...toWireService(row),
    domains: domainsOf(context, row.id),
    mounts: context.platform.mounts.all().filter(mount => mount.applicationId === row.id),
    redirects: [],
    security: [],
    ports: [],
    deployments: listedDeployments(context, row.id),
    environment: { ...environment, project: environment && context.platform.projects.get(environment.projectId) },
  }
}

/** The application's file in Traefik's folder; written at once, without a deploy. */
const writeRoutes = (context: Context, row: ServiceRow): void => {
  const domains = domainsOf(context, row.id).filter(each => each.enabled !== false)
  const routers: Record<string, unknown> = {}
  const services: Record<string, unknown> = {}
  for (const domain of domains) {
    const key = String(domain.uniqueConfigKey)
    Object.assign(routers, routersOf(domain, `${row.appName}-router-${key}`, `${row.appName}-service-${key}`))
    services[`${row.appName}-service-${key}`] = {
      loadBalancer: { servers: [{ url: `http://${row.appName}:${String(domain.port)}` }], passHostHeader: true },
    }
  }
  const file = domains.length === 0 ? undefined : `${Bun.YAML.stringify({ http: { routers, services } }, null, 2)}\n`
  context.writeDynamic(`${row.appName}.yml`, file)
}

const domainFields = {
  host: id,
  path: optional(nullable(id)),
  port: optional(nullable(number)),
  https: optional(flag),
  certificateType: certificate,
  customCertResolver: maybeText,
  serviceName: maybeText,
  domainType: optional(nullable(choice(['compose', 'application', 'preview']))),
  internalPath: maybeText,
  stripPath: optional(flag),
  middlewares: optional(nullable(words)),
}

const changed = (context: Context, domain: WireRow): void => {
  const row = context.platform.services.get(String(domain.applicationId ?? ''))
  // A stack's routes are labels of its containers: they change with the next deploy.
  if (row) writeRoutes(context, row)
}

export const applicationRoutes = {
  'application.create': mutation(
    object({
      name: id,
      appName: optional(matching(APP_NAME, { max: 63 })),
      description: maybeText,
      environmentId: text(),
      serverId: maybeText,
      sourceType: optional(choice(['github', 'docker', 'git', 'gitlab', 'bitbucket', 'gitea', 'drop'])),
    }),
    (context, input) => {
      const row = addService(context, 'application', input, { ...NEW_APPLICATION, refreshToken: randomText(21) })
      return row instanceof Refusal ? row : toWireService(row)
    },
  ),
  'application.one': query(object({ applicationId: id }), (context, { applicationId }) =>
    withApplication(context, applicationId, row => toWireApplication(context, row)),
  ),
  'application.saveDockerProvider': mutation(
    object({
      applicationId: text(),
      dockerImage: nullable(text()),
      username: nullable(text()),
      password: nullable(text()),
      registryUrl: nullable(text()),
    }),
    (context, input) => save(context, { ...input, sourceType: 'docker' }),
  ),
  'application.saveGitProvider': mutation(
    object({
      applicationId: text(),
      customGitUrl: nullable(text()),
      customGitBranch: matching(BRANCH),
      customGitBuildPath: nullable(text()),
      watchPaths: nullable(words),
      customGitSSHKeyId: maybeText,
      enableSubmodules: optional(flag),
    }),
    (context, input) => save(context, { ...namedOnly(input), applicationId: input.applicationId, sourceType: 'git' }),
  ),
  'application.saveGithubProvider': mutation(
    object({
      applicationId: text(),
      repository: nullable(text()),
      owner: nullable(text()),
      buildPath: nullable(text()),
      githubId: nullable(text()),
      branch: matching(BRANCH),
      triggerType: choice(['push', 'tag']),
      watchPaths: optional(nullable(words)),
      enableSubmodules: optional(flag),
    }),
    (context, input) => save(context, { ...namedOnly(input), applicationId: input.applicationId, sourceType: 'github' }),
  ),
  'application.saveBuildType': mutation(
    object({
      applicationId: text(),
      buildType: choice(['dockerfile', 'heroku_buildpacks', 'paketo_buildpacks', 'nixpacks', 'static', 'railpack']),
      dockerfile: nullable(text()),
      dockerContextPath: nullable(text()),
      dockerBuildStage: nullable(text()),
      herokuVersion: nullable(text()),
      railpackVersion: nullable(text()),
      publishDirectory: maybeText,
      isStaticSpa: maybeFlag,
    }),
    (context, input) => save(context, { ...namedOnly(input), applicationId: input.applicationId }),
  ),
  'application.saveEnvironment': mutation(
    object({
      applicationId: text(),
      env: nullable(text()),
      buildArgs: nullable(text()),
      buildSecrets: nullable(text()),
      createEnvFile: flag,
    }),
    save,
  ),
  'application.update': mutation(
    object({
      applicationId: id,
      name: optional(id),
      description: maybeText,
      replicas: optional(number),
      memoryLimit: maybeText,
      healthCheckSwarm: anything,
      updateConfigSwarm: anything,
      autoDeploy: maybeFlag,
      rollbackActive: maybeFlag,
      rollbackRegistryId: maybeText,
      registryId: maybeText,
      command: maybeText,
    }),
    (context, { applicationId, ...input }) => {
      const columns = namedOnly(input)
      if (Object.keys(columns).length === 0) return refuse('INTERNAL_SERVER_ERROR', 'No values to set')
      return save(context, { applicationId, ...columns })
    },
  ),
  'application.refreshToken': mutation(object({ applicationId: id }), (context, { applicationId }) =>
    save(context, { applicationId, refreshToken: randomText(21) }),
  ),
  'application.deploy': mutation(
    object({ applicationId: id, title: optional(text()), description: optional(text()) }),
    (context, input) => queue(context, input, false),
  ),
  'application.redeploy': mutation(
    object({ applicationId: id, title: optional(text()), description: optional(text()) }),
    (context, input) => queue(context, input, true),
  ),
  'application.reload': mutation(object({ applicationId: text(), appName: matching(APP_NAME) }), (context, { applicationId }) =>
    withApplication(context, applicationId, row => {
      const run = context.platform.runs.get(row.appName)
      if (!run?.current) return refuse('INTERNAL_SERVER_ERROR', `service ${row.appName} not found`)
      const env = context.envOf(row)
      const image = imageNow(context.platform, row)
      handOver(context.platform, runOf(row), {
        ...run.current,
        ...image,
        env,
        version: env.DEPLOY_VERSION ?? image.version,
        startedAtMs: context.clock.nowMs(),
        containerId: newContainerId(),
      })
      return true
    }),
  ),

  'mounts.create': mutation(
    object({
      type: choice(['bind', 'volume', 'file']),
      mountPath: id,
      serviceId: id,
      serviceType: optional(choice(['application', 'postgres', 'mysql', 'mariadb', 'mongo', 'redis', 'compose', 'libsql'])),
      volumeName: maybeText,
      hostPath: maybeText,
      content: maybeText,
      filePath: maybeText,
    }),
    (context, { serviceId, ...input }) => {
      const mountId = randomText(21)
      const owner = input.serviceType === 'compose' ? { composeId: serviceId } : { applicationId: serviceId }
      const row = { mountId, ...namedOnly(input), ...owner }
      context.platform.mounts.put(mountId, row)
      return row
    },
  ),
  'mounts.update': mutation(
    object({
      mountId: id,
      type: optional(choice(['bind', 'volume', 'file'])),
      mountPath: optional(id),
      serviceType: optional(choice(['application', 'compose'])),
      volumeName: maybeText,
      content: maybeText,
      filePath: maybeText,
      composeId: maybeText,
    }),
    (context, { mountId, ...input }) => {
      const before = context.platform.mounts.get(mountId)
      if (!before) return refuse('NOT_FOUND', 'Mount not found')
      const row = { ...before, ...namedOnly(input) }
      context.platform.mounts.put(mountId, row)
      return row
    },
  ),

  'domain.create': mutation(object({ ...domainFields, applicationId: maybeText, composeId: maybeText }), (context, input) => {
    const owner = context.platform.services.get(input.applicationId ?? input.composeId ?? '')
    if (!owner) return refuse('NOT_FOUND', 'Service not found')
    const row: WireRow = {
      domainId: randomText(21),
      uniqueConfigKey: context.platform.nextId('domains'),
      host: input.host.toLowerCase(),
      path: input.path ?? '/',
      port: input.port ?? 3000,
      https: input.https ?? false,
      certificateType: input.certificateType ?? 'none',
      customCertResolver: input.customCertResolver ?? null,
      serviceName: input.serviceName ?? null,
      domainType: input.domainType ?? 'application',
      internalPath: input.internalPath ?? '/',
      stripPath: input.stripPath ?? false,
      middlewares: input.middlewares ?? [],
      applicationId: input.applicationId ?? null,
      composeId: input.composeId ?? null,
      previewDeploymentId: null,
      enabled: true,
      createdAt: isoOf(context.clock.nowMs()),
    }
    context.platform.domains.put(String(row.domainId), row)
    changed(context, row)
    return row
  }),
  'domain.update': mutation(object({ ...domainFields, domainId: text(), enabled: optional(flag) }), (context, input) => {
    const row = context.platform.domains.get(input.domainId)
    if (!row) return refuse('NOT_FOUND', 'Domain not found')
    const next = { ...row, ...namedOnly(input) }
    context.platform.domains.put(input.domainId, next)
    changed(context, next)
    return next
  }),
  'domain.delete': mutation(object({ domainId: id }), (context, { domainId }) => {
    const row = context.platform.domains.get(domainId)
    if (!row) return refuse('NOT_FOUND', 'Domain not found')
    context.platform.domains.delete(domainId)
    changed(context, row)
    return row
  }),
} satisfies Routes

/** Answers 200 with an empty body. */
const queue = (
  context: Context,
  { applicationId, title, description }: { applicationId: string; title?: string | undefined; description?: string | undefined },
  again: boolean,
): unknown =>
  withApplication(context, applicationId, row => {
    enqueue(
      context.platform,
      row,
      { title: title ?? (again ? 'Rebuild deployment' : 'Manual deployment'), description: description ?? '', again },
      context.clock.nowMs(),
    )
    return undefined
  })
