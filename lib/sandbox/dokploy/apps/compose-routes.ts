/** `compose.*`: stacks from a text or a repository, whose domains are labels and whose deploys recreate containers. */

import { choice, flag, nullable, object, optional, text } from '../input.ts'
import { type Context, mutation, query, type Routes } from '../router.ts'
import { randomText } from '../state.ts'
import { Refusal, refuse } from '../wire.ts'
import { domainsOf } from './application-routes.ts'
import { composeText } from './compose-file.ts'
import { listedDeployments, stampedLog } from './deployment-routes.ts'
import { enqueue } from './jobs.ts'
import { APP_NAME, id, matching, maybeFlag, maybeText, namedOnly, queryNumber, words } from './readers.ts'
import type { ServiceRow, WireRow } from './rows.ts'
import { addService, patchService, serviceOf, toWireService } from './service-routes.ts'

const NEW_COMPOSE: WireRow = {
  env: null,
  createEnvFile: true,
  composeFile: '',
  // Not "raw": whoever stores a text has to say so.
  sourceType: 'github',
  composeType: 'docker-compose',
  composePath: './docker-compose.yml',
  command: '',
  autoDeploy: true,
  watchPaths: null,
  isolatedDeployment: false,
  randomize: false,
  composeStatus: 'idle',
}

const withCompose = (context: Context, composeId: string, work: (row: ServiceRow) => unknown): unknown => {
  const row = serviceOf(context, 'compose', composeId)
  return row instanceof Refusal ? row : work(row)
}

const SOURCES = ['git', 'github', 'gitlab', 'bitbucket', 'gitea', 'raw'] as const
const TYPES = ['docker-compose', 'stack'] as const

const defaultCommand = ({ appName, columns }: ServiceRow): string => {
  if (typeof columns.command === 'string' && columns.command !== '') return columns.command
  const path = columns.sourceType === 'raw' ? 'docker-compose.yml' : String(columns.composePath)
  return columns.composeType === 'stack'
    ? `stack deploy -c ${path} ${appName} --prune --with-registry-auth`
    : `compose -p ${appName} -f ${path} up -d --build --remove-orphans`
}

export const composeRoutes = {
  'compose.create': mutation(
    object({
      name: id,
      description: maybeText,
      environmentId: text(),
      composeType: optional(choice(TYPES)),
      appName: optional(matching(APP_NAME, { max: 63 })),
      serverId: maybeText,
      composeFile: optional(text()),
      sourceType: optional(choice(SOURCES)),
    }),
    (context, { composeType, composeFile, sourceType, ...input }) => {
      const row = addService(context, 'compose', input, {
        ...NEW_COMPOSE,
        ...namedOnly({ composeType, composeFile, sourceType }),
        refreshToken: randomText(21),
      })
      return row instanceof Refusal ? row : toWireService(row)
    },
  ),
  'compose.one': query(object({ composeId: id }), (context, { composeId }) =>
    withCompose(context, composeId, row => ({
      ...toWireService(row),
      domains: domainsOf(context, row.id),
      mounts: context.platform.mounts.all().filter(mount => mount.composeId === row.id),
      backups: [],
      deployments: listedDeployments(context, row.id),
    })),
  ),
  'compose.update': mutation(
    object({
      composeId: text(),
      name: optional(id),
      description: maybeText,
      composeFile: optional(text()),
      sourceType: optional(choice(SOURCES)),
      composeType: optional(choice(TYPES)),
      repository: maybeText,
      owner: maybeText,
      branch: maybeText,
      githubId: maybeText,
      customGitUrl: maybeText,
      customGitBranch: maybeText,
      customGitSSHKeyId: maybeText,
      composePath: optional(id),
      command: optional(text()),
      autoDeploy: maybeFlag,
      watchPaths: optional(nullable(words)),
      env: maybeText,
    }),
    (context, { composeId, ...input }) =>
      withCompose(context, composeId, row => {
        const columns = namedOnly(input)
        if (Object.keys(columns).length === 0) return refuse('INTERNAL_SERVER_ERROR', 'No values to set')
        return toWireService(patchService(context, row, columns))
      }),
  ),
  'compose.saveEnvironment': mutation(
    object({ composeId: text(), env: nullable(text()), createEnvFile: optional(flag) }),
    (context, { composeId, ...columns }) =>
      withCompose(context, composeId, row => {
        patchService(context, row, namedOnly(columns))
        return true
      }),
  ),
  'compose.getDefaultCommand': query(object({ composeId: id }), (context, { composeId }) =>
    withCompose(context, composeId, row => `docker ${defaultCommand(row)}`),
  ),
  'compose.getConvertedCompose': query(object({ composeId: id }), (context, { composeId }) =>
    withCompose(context, composeId, row => composeText(context.platform, row)),
  ),
  'compose.deploy': mutation(
    object({ composeId: id, title: optional(text()), description: optional(text()) }),
    (context, { composeId, title, description }) =>
      withCompose(context, composeId, row => {
        enqueue(
          context.platform,
          row,
          { title: title ?? 'Manual deployment', description: description ?? '', again: false },
          context.clock.nowMs(),
        )
        return { success: true, message: 'Deployment queued', composeId }
      }),
  ),
  'compose.redeploy': mutation(
    object({ composeId: id, title: optional(text()), description: optional(text()) }),
    (context, { composeId, title, description }) =>
      withCompose(context, composeId, row => {
        enqueue(
          context.platform,
          row,
          { title: title ?? 'Rebuild deployment', description: description ?? '', again: true },
          context.clock.nowMs(),
        )
        return { success: true, message: 'Redeployment queued', composeId }
      }),
  ),
  'compose.readLogs': query(
    object({ composeId: id, containerId: matching(APP_NAME), tail: optional(queryNumber) }),
    ({ platform }, { composeId, containerId, tail }) => {
      const found = platform.runs
        .all()
        .filter(run => run.serviceId === composeId)
        .flatMap(run => [run.next, run.current, ...run.failed.map(each => each.release)])
        .find(release => release?.containerId.startsWith(containerId))
      return found
        ? stampedLog(found)
            .slice(-(tail ?? 100))
            .join('\n')
        : ''
    },
  ),
} satisfies Routes
