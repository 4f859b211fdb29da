/** `project.*`, `environment.*`, and what applications, compose stacks and databases have in common: nothing is unique by name. */

import { nothing, nullable, object, optional, text } from '../input.ts'
import { type Context, mutation, query, type Routes } from '../router.ts'
import { isoOf, randomText } from '../state.ts'
import { type Refusal, refuse } from '../wire.ts'
import { id } from './readers.ts'
import { DATABASES, type EnvironmentRow, type ServiceKind, type ServiceRow, type WireRow } from './rows.ts'

/** Six characters that nobody can choose. */
export const appNameFor = (wanted: string): string => {
  const base =
    wanted
      .toLowerCase()
      .replace(/[^a-z0-9.-]+/g, '-')
      .replace(/^-+|-+$/g, '')
      .slice(0, 50) || 'app'
  return `${base}-${randomText(6).toLowerCase()}`
}

export const idColumn = (kind: ServiceKind): string => `${kind}Id`

export const addService = (
  { platform, clock }: Context,
  kind: ServiceKind,
  input: {
    readonly name: string
    readonly environmentId: string
    readonly appName?: string | undefined
    readonly description?: string | null | undefined
  },
  columns: WireRow,
): ServiceRow | Refusal => {
  if (!platform.environments.get(input.environmentId)) return refuse('NOT_FOUND', 'Environment not found')
  const serviceId = randomText(21)
  const row: ServiceRow = {
    id: serviceId,
    kind,
    environmentId: input.environmentId,
    name: input.name,
    appName: appNameFor(input.appName ?? input.name),
    columns: { description: input.description ?? null, createdAt: isoOf(clock.nowMs()), ...columns },
  }
  platform.services.put(serviceId, row)
  return row
}

export const serviceOf = ({ platform }: Context, kind: ServiceKind, serviceId: string): ServiceRow | Refusal => {
  const row = platform.services.get(serviceId)
  return row?.kind === kind ? row : refuse('NOT_FOUND', `${kind[0]?.toUpperCase()}${kind.slice(1)} not found`)
}

export const patchService = ({ platform }: Context, row: ServiceRow, columns: WireRow): ServiceRow => {
  const { name, ...rest } = columns
  const next: ServiceRow = {
    ...row,
    name: typeof name === 'string' ? name : row.name,
    // The name in Swarm stays what it is, whatever an update says.
    columns: { ...row.columns, ...Object.fromEntries(Object.entries(rest).filter(([key]) => key !== 'appName')) },
  }
  platform.services.put(row.id, next)
  return next
}

/** The whole row as it goes over the wire, secrets and all. */
export const toWireService = (row: ServiceRow): Record<string, unknown> => ({
  ...row.columns,
  [idColumn(row.kind)]: row.id,
  name: row.name,
  appName: row.appName,
  environmentId: row.environmentId,
  serverId: null,
})

const LISTS = { application: 'applications', compose: 'compose' } as const

/** Rows of one kind, with these of its columns. */
const listed = (rows: readonly ServiceRow[], kind: ServiceKind, columns: (row: ServiceRow) => WireRow) =>
  rows.filter(each => each.kind === kind).map(each => ({ [idColumn(kind)]: each.id, ...columns(each) }))

const statusOf = ({ kind, columns }: ServiceRow): WireRow => {
  const column = kind === 'compose' ? 'composeStatus' : 'applicationStatus'
  return { [column]: columns[column] }
}

const insideOf = ({ platform }: Context, { environmentId }: EnvironmentRow): ServiceRow[] =>
  platform.services.all().filter(each => each.environmentId === environmentId)

/** As `project.all` answers an owner or an admin: of databases their ids and nothing else. */
const toWireEnvironment = (context: Context, row: EnvironmentRow) => {
  const inside = insideOf(context, row)
  const named = (kind: keyof typeof LISTS) => listed(inside, kind, each => ({ name: each.name, ...statusOf(each) }))
  return {
    environmentId: row.environmentId,
    name: row.name,
    isDefault: row.isDefault,
    [LISTS.application]: named('application'),
    [LISTS.compose]: named('compose'),
    ...Object.fromEntries(DATABASES.map(kind => [kind, listed(inside, kind, () => ({}))])),
    libsql: [],
  }
}

/** As `environment.one` answers: everything by its name. */
const toWireWholeEnvironment = (context: Context, row: EnvironmentRow) => {
  const inside = insideOf(context, row)
  const whole = (kind: ServiceKind) =>
    listed(inside, kind, each => ({
      name: each.name,
      description: each.columns.description ?? null,
      createdAt: each.columns.createdAt,
      ...statusOf(each),
      serverId: null,
      server: null,
    }))
  return {
    name: row.name,
    description: row.description,
    environmentId: row.environmentId,
    isDefault: row.isDefault,
    projectId: row.projectId,
    env: row.env,
    [LISTS.application]: whole('application'),
    [LISTS.compose]: whole('compose'),
    ...Object.fromEntries(DATABASES.map(kind => [kind, whole(kind)])),
    libsql: [],
    project: context.platform.projects.get(row.projectId),
  }
}

const addEnvironment = (
  { platform, clock }: Context,
  input: Pick<EnvironmentRow, 'name' | 'projectId' | 'isDefault'> & { readonly description?: string | undefined },
): EnvironmentRow => {
  const row: EnvironmentRow = {
    environmentId: randomText(21),
    name: input.name,
    description: input.description ?? null,
    createdAt: isoOf(clock.nowMs()),
    env: '',
    projectId: input.projectId,
    isDefault: input.isDefault,
  }
  platform.environments.put(row.environmentId, row)
  return row
}

export const projectRoutes = {
  'project.all': query(nothing, context =>
    context.platform.projects.all().map(project => ({
      ...project,
      environments: context.platform.environments
        .all()
        .filter(row => row.projectId === project.projectId)
        .map(row => toWireEnvironment(context, row)),
      projectTags: [],
    })),
  ),
  'project.create': mutation(
    object({ name: id, description: optional(nullable(text())), env: optional(text()) }),
    (context, input, caller) => {
      const project = {
        projectId: randomText(21),
        name: input.name,
        description: input.description ?? null,
        createdAt: isoOf(context.clock.nowMs()),
        organizationId: caller.organizationId,
        env: input.env ?? '',
      }
      context.platform.projects.put(project.projectId, project)
      const environment = addEnvironment(context, { name: 'production', projectId: project.projectId, isDefault: true })
      return { project, environment }
    },
  ),
  'environment.create': mutation(object({ name: id, projectId: id, description: optional(text()) }), (context, input) => {
    if (!context.platform.projects.get(input.projectId)) return refuse('NOT_FOUND', 'Project not found')
    if (input.name === 'production')
      return refuse('BAD_REQUEST', 'You cannot create a production environment. It is created by default.')
    return addEnvironment(context, { ...input, isDefault: false })
  }),
  'environment.one': query(object({ environmentId: id }), (context, { environmentId }) => {
    const row = context.platform.environments.get(environmentId)
    return row ? toWireWholeEnvironment(context, row) : refuse('NOT_FOUND', 'Environment not found')
  }),
  'environment.byProjectId': query(object({ projectId: text() }), ({ platform }, { projectId }) =>
    platform.environments.all().filter(row => row.projectId === projectId),
  ),
} satisfies Routes
