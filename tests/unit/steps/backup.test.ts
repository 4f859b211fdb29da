/** Backups as the steps see them: what is as wanted, and what was changed or made wrongly before. */

import { describe, expect, test } from 'bun:test'
import type { BackupSpec } from '../../../lib/estate/apps.ts'
import type { Backup, Bucket } from '../../../lib/providers/ports/dokploy-apps.ts'
import { Secret } from '../../../lib/secret.ts'
import type { AppDeps } from '../../../lib/steps/app-place.ts'
import type { AppsView } from '../../../lib/steps/app-world.ts'
import { backupStep } from '../../../lib/steps/backup.ts'
import { deps as estateDeps, lookAt } from './worlds.ts'

const deps: AppDeps = {
  ...estateDeps,
  appsOn: () => Promise.reject(new Error('a look asks nobody')),
  inputOf: app => {
    throw new Error(`a look at backups reads no input of ${app}`)
  },
}

const bucket: Bucket = {
  id: 'b1',
  name: 's3',
  provider: 'Other',
  endpoint: 'https://s3.example.net',
  region: 'x',
  bucket: 'acme',
  accessKey: new Secret('a', 'a', 'unlisted'),
  secretKey: new Secret('s', 's', 'unlisted'),
}

const view = (change: Partial<AppsView>): AppsView => ({
  state: 'open',
  projects: [],
  services: {},
  databases: {},
  schedules: {},
  volumeBackups: {},
  buckets: [bucket],
  panelBackups: [],
  registries: [],
  notifications: [],
  sshKeys: [],
  githubApps: [],
  ...change,
})

const common = { server: 'prod', bucket: 's3', schedule: '0 3 * * *', keep: 14 }

describe('the backup of the panel', () => {
  const spec: BackupSpec = { ...common, name: 'panel', prefix: 'panel', what: { kind: 'panel' } }
  const kept: Backup = {
    id: 'k1',
    appName: 'backup-abc',
    bucketId: 'b1',
    prefix: 'panel',
    schedule: '0 3 * * *',
    keep: 14,
    enabled: true,
    database: 'dokploy',
    withEncryptionKey: true,
  }
  const look = (panelBackups: readonly Backup[]) => lookAt(backupStep(deps, spec), { apps: { prod: view({ panelBackups }) } })

  test('with its key it is as wanted', () => {
    expect(look([kept])).toMatchObject({ state: 'done' })
  })

  test('without its key it is changed', () => {
    expect(look([{ ...kept, withEncryptionKey: false }])).toMatchObject({
      state: 'todo',
      changes: [{ kind: 'change', details: ['withEncryptionKey: false → true'] }],
    })
  })
})
