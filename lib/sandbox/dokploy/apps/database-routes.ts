/** `postgres.*` and its kin. */

import { object, optional, type Reader, text } from '../input.ts'
import { type Context, mutation, query, type Routes } from '../router.ts'
import { Refusal } from '../wire.ts'
import { APP_NAME, id, matching, maybeText, namedOnly, PASSWORD } from './readers.ts'
import { DATABASES, type DatabaseKind, type WireRow } from './rows.ts'
import { addService, patchService, serviceOf, toWireService } from './service-routes.ts'

const databaseFields = {
  name: id,
  appName: optional(matching(APP_NAME, { max: 63 })),
  dockerImage: optional(text()),
  environmentId: text(),
  description: maybeText,
  serverId: maybeText,
}
const password = matching(PASSWORD)
const DATABASE_INPUTS = {
  postgres: { ...databaseFields, databaseName: id, databaseUser: id, databasePassword: password },
  mysql: {
    ...databaseFields,
    databaseName: id,
    databaseUser: id,
    databasePassword: password,
    databaseRootPassword: optional(password),
  },
  mariadb: {
    ...databaseFields,
    databaseName: id,
    databaseUser: id,
    databasePassword: password,
    databaseRootPassword: optional(password),
  },
  mongo: { ...databaseFields, databaseUser: id, databasePassword: password },
  redis: { ...databaseFields, databasePassword: text() },
} satisfies Record<DatabaseKind, Readonly<Record<string, Reader<unknown>>>>

const backupsOf = ({ platform }: Context, field: string, owner: string): WireRow[] =>
  platform.backups.all().filter(row => row[field] === owner)

const databaseRoutes = (kind: DatabaseKind): Routes => {
  const key = `${kind}Id`
  const named = (raw: unknown): string => {
    const value = typeof raw === 'object' && raw !== null ? Object.entries(raw).find(([name]) => name === key)?.[1] : undefined
    return typeof value === 'string' ? value : ''
  }
  const find = (context: Context, input: unknown) => serviceOf(context, kind, named(input))
  const idOnly: Reader<Readonly<Record<string, unknown>>> = object({ [key]: id })
  const fields: Readonly<Record<string, Reader<unknown>>> = DATABASE_INPUTS[kind]
  return {
    [`${kind}.create`]: mutation(object(fields), (context, input) => {
      const { name, environmentId, appName, description, ...columns } = input
      const row = addService(
        context,
        kind,
        {
          name: String(name),
          environmentId: String(environmentId),
          appName: typeof appName === 'string' ? appName : undefined,
          description: typeof description === 'string' ? description : null,
        },
        { ...namedOnly(columns), applicationStatus: 'idle' },
      )
      return row instanceof Refusal ? row : toWireService(row)
    }),
    [`${kind}.one`]: query(idOnly, (context, input) => {
      const row = find(context, input)
      return row instanceof Refusal ? row : { ...toWireService(row), mounts: [], backups: backupsOf(context, key, row.id) }
    }),
    [`${kind}.deploy`]: mutation(idOnly, (context, input) => {
      const row = find(context, input)
      if (row instanceof Refusal) return row
      return toWireService(patchService(context, row, { applicationStatus: 'done' }))
    }),
  }
}

export const databaseTable: Routes = Object.assign({}, ...DATABASES.map(databaseRoutes))
