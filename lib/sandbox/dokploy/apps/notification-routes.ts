/** `notification.*`: a row for the events and one for the target; most kinds want every flag, and a create answers with nothing. */

import { flag, nothing, number, object, optional, type Reader, text } from '../input.ts'
import { mutation, query, type Routes } from '../router.ts'
import { isoOf, randomText } from '../state.ts'
import { refuse } from '../wire.ts'
import { anything, id, list, namedOnly } from './readers.ts'

const flagsWith = (read: (reader: Reader<boolean>) => Reader<boolean | undefined>) => ({
  appDeploy: read(flag),
  appBuildError: read(flag),
  databaseBackup: read(flag),
  volumeBackup: read(flag),
  dokployBackup: read(flag),
  dokployRestart: read(flag),
  dockerCleanup: read(flag),
  serverThreshold: read(flag),
})
const needed = flagsWith(reader => reader)
const left = flagsWith(optional)

const NOTIFICATIONS = {
  Slack: { type: 'slack', key: 'slackId', fields: { webhookUrl: id, channel: text() }, flags: needed },
  Discord: { type: 'discord', key: 'discordId', fields: { webhookUrl: id, decoration: flag }, flags: needed },
  Email: {
    type: 'email',
    key: 'emailId',
    fields: { smtpServer: id, smtpPort: number, username: id, password: id, fromAddress: id, toAddresses: list(text()) },
    flags: needed,
  },
  Custom: { type: 'custom', key: 'customId', fields: { endpoint: id, headers: optional(anything) }, flags: left },
} as const

const notificationRoutes = (word: keyof typeof NOTIFICATIONS): Routes => {
  const { type, key, fields, flags } = NOTIFICATIONS[word]
  const own: Readonly<Record<string, Reader<unknown>>> = fields
  const parts = (input: Readonly<Record<string, unknown>>) => {
    const target = Object.fromEntries(Object.entries(input).filter(([name]) => Object.hasOwn(own, name)))
    const rest = Object.fromEntries(
      Object.entries(input).filter(([name]) => !Object.hasOwn(own, name) && name !== 'notificationId' && name !== key),
    )
    return { target: namedOnly(target), rest: namedOnly(rest) }
  }
  const create: Readonly<Record<string, Reader<unknown>>> = { name: text(), ...flags, ...own }
  const optionals = Object.fromEntries(Object.entries(own).map(([name, reader]) => [name, optional(reader)]))
  const update: Readonly<Record<string, Reader<unknown>>> = {
    name: optional(text()),
    ...left,
    ...optionals,
    notificationId: id,
    [key]: key === 'slackId' ? text() : id,
  }
  return {
    [`notification.create${word}`]: mutation(object(create), ({ platform, clock }, input) => {
      const { target, rest } = parts(input)
      const notificationId = randomText(21)
      platform.notifications.put(notificationId, {
        notificationId,
        notificationType: type,
        createdAt: isoOf(clock.nowMs()),
        ...rest,
        [key]: randomText(21),
        [type]: { ...target, [key]: '' },
      })
      return undefined
    }),
    [`notification.update${word}`]: mutation(object(update), ({ platform }, input) => {
      const row = platform.notifications.get(String(input.notificationId))
      if (!row) return refuse('NOT_FOUND', 'Notification not found')
      const inner = typeof row[type] === 'object' && row[type] !== null ? row[type] : {}
      const { target, rest } = parts(input)
      platform.notifications.put(String(row.notificationId), { ...row, ...rest, [type]: { ...inner, ...target } })
      return true
    }),
  }
}

export const notificationTable: Routes = {
  ...Object.assign({}, ...(['Slack', 'Discord', 'Email', 'Custom'] as const).map(notificationRoutes)),
  'notification.all': query(nothing, ({ platform }) =>
    // The target's own id is the foreign key's value.
    platform.notifications
      .all()
      .toReversed()
      .map(row => {
        const type = String(row.notificationType)
        const key = `${type}Id`
        const inner = typeof row[type] === 'object' && row[type] !== null ? row[type] : {}
        return { ...row, [type]: { ...inner, [key]: row[key] } }
      }),
  ),
}
