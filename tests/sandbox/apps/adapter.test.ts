/** Applications through the adapter, against a stand-in that has Dokploy's traps: no unique names, lost answers, `done` that is not running. */

import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { hasCode } from '../../../lib/errors.ts'
import { envProblem, envValue } from '../../../lib/providers/dokploy/dotenv.ts'
import type { EnvSet } from '../../../lib/providers/ports/dokploy-apps.ts'
import { Secret } from '../../../lib/secret.ts'
import { openRig, withApplication } from './rig.ts'

const names = (env: EnvSet) => Object.fromEntries(env.map(([name, value]) => [name, value.reveal()]))
const DOMAIN = { host: 'www.example.com', path: '/', port: 3000, https: false, certificate: 'none', stripPath: false } as const
const DATABASE = {
  kind: 'postgres',
  name: 'main',
  database: 'app',
  user: 'app',
  password: new Secret('p', 'abc123', 'unlisted'),
} as const
const BUCKET = {
  name: 's3',
  provider: 'Other',
  endpoint: 'https://s3.example.net',
  region: 'x',
  bucket: 'b',
  accessKey: new Secret('a', 'a', 'unlisted'),
  secretKey: new Secret('s', 's', 'unlisted'),
}

describe('a create whose answer is lost makes exactly one thing', () => {
  test('a project', async () => {
    const rig = await openRig()
    rig.loseAnswer('project.create')
    const made = await rig.api.createProject({ name: 'shop', description: 'nonce 1' })
    const projects = await rig.api.listProjects()
    expect(projects.map(each => each.id)).toEqual([made.projectId])
  })

  test('an application, a domain, a deploy', async () => {
    const rig = await openRig()
    const { environmentId } = await rig.api.createProject({ name: 'shop', description: 'n' })
    rig.loseAnswer('application.create')
    const ref = await rig.api.createService({ kind: 'application', environmentId, name: 'web', description: 'nonce 2' })
    await rig.api.setSource(ref.id, { kind: 'image', image: 'web:1' })
    rig.loseAnswer('domain.create')
    await rig.api.createDomain(ref, DOMAIN)
    rig.loseAnswer('application.deploy')
    await rig.api.startDeploy(ref, { title: 't', description: '' })
    rig.sleep(5_000)
    const service = await rig.api.readService(ref)
    expect([service.domains.length, service.deployments.length]).toEqual([1, 1])
    expect((await rig.api.listProjects())[0]?.environments[0]?.services).toHaveLength(1)
  })

  test('a database', async () => {
    const rig = await openRig()
    const { environmentId } = await rig.api.createProject({ name: 'shop', description: 'n' })
    rig.loseAnswer('postgres.create')
    const made = await rig.api.createDatabase({ ...DATABASE, environmentId, description: 'nonce 4' })
    expect((await rig.api.listProjects())[0]?.environments[0]?.services).toEqual([{ kind: 'postgres', id: made, name: 'main' }])
    rig.loseAnswer('postgres.create')
    // One of this name by somebody else: two are there now, and which is meant is not clear.
    const second = rig.api.createDatabase({ ...DATABASE, environmentId, description: 'nonce 5' })
    expect(await second.catch((error: unknown) => hasCode(error, 'name_taken'))).toBe(true)
  })

  test('another image keeps the login at its registry, and another branch the submodules, that somebody set in the panel', async () => {
    const rig = await openRig()
    const { environmentId } = await rig.api.createProject({ name: 'shop', description: 'n' })
    const ref = await rig.api.createService({ kind: 'application', environmentId, name: 'web', description: 'nonce 6' })
    const applicationId = ref.id
    const login = { username: 'ci', password: 'registry-word', registryUrl: 'registry.example.com' }
    const row = async () => (await rig.raw('GET', `/api/application.one?applicationId=${applicationId}`)).json
    await rig.raw('POST', '/api/application.saveDockerProvider', { applicationId, dockerImage: 'web:1', ...login })
    await rig.api.setSource(applicationId, { kind: 'image', image: 'web:2' })
    expect(await row()).toMatchObject({ dockerImage: 'web:2', ...login })

    const git = { customGitUrl: 'https://example.com/a.git', customGitBuildPath: '/', customGitBranch: 'main', watchPaths: null }
    await rig.raw('POST', '/api/application.saveGitProvider', { applicationId, ...git, enableSubmodules: true })
    await rig.api.setSource(applicationId, { kind: 'git', url: git.customGitUrl, branch: 'next', path: '/', watch: [] })
    expect(await row()).toMatchObject({ customGitBranch: 'next', enableSubmodules: true })
  })

  test('other keys for a bucket keep the flags that somebody set in the panel', async () => {
    const rig = await openRig()
    const additionalFlags = ['--s3-no-check-bucket']
    const { name, provider, endpoint, region, bucket } = BUCKET
    const wire = { name, provider, endpoint, region, bucket, accessKey: 'a', secretAccessKey: 's', additionalFlags }
    await rig.raw('POST', '/api/destination.create', wire)
    const [made] = await rig.api.listBuckets()
    await rig.api.setBucket({ ...BUCKET, id: made?.id ?? '', region: 'eu-central' })
    expect((await rig.raw('GET', '/api/destination.all')).json).toMatchObject([{ region: 'eu-central', additionalFlags }])
  })

  test('a namesake of somebody else is not taken for it', async () => {
    const rig = await openRig()
    const { environmentId } = await rig.api.createProject({ name: 'shop', description: 'n' })
    await rig.raw('POST', '/api/application.create', { name: 'web', environmentId, description: 'by hand' })
    rig.loseAnswer('application.create')
    let error: unknown
    try {
      await rig.api.createService({ kind: 'application', environmentId, name: 'web', description: 'nonce 3' })
    } catch (caught) {
      error = caught
    }
    expect(hasCode(error, 'name_taken')).toBe(true)
  })
})

describe('the stand-in has the traps of the real one', () => {
  test('a list of projects names applications and no database: the adapter asks for those', async () => {
    const rig = await openRig()
    const { environmentId } = await withApplication(rig)
    await rig.api.createDatabase({ ...DATABASE, environmentId, description: 'n' })
    const [project] = (await rig.raw('GET', '/api/project.all')).json as {
      environments: { applications: object[]; postgres: object[] }[]
    }[]
    expect(project?.environments[0]?.applications).toEqual([expect.objectContaining({ name: 'web' })])
    expect(project?.environments[0]?.postgres).toEqual([{ postgresId: expect.any(String) }])
    const [seen] = await rig.api.listProjects()
    expect(seen?.environments[0]?.services.map(each => [each.kind, each.name])).toEqual([
      ['application', 'web'],
      ['postgres', 'main'],
    ])
  })

  test('the panel’s own backup is seen by the user whose it is said to be, and by nobody when it is said of none', async () => {
    const rig = await openRig()
    await rig.api.setBucket(BUCKET)
    const bucketId = (await rig.api.listBuckets())[0]?.id ?? ''
    const backup = { bucketId, prefix: 'panel', schedule: '0 4 * * *', keep: 3, database: 'dokploy', withEncryptionKey: true }
    const wire = { schedule: '0 4 * * *', prefix: 'orphan', destinationId: bucketId, database: 'dokploy' }
    expect((await rig.raw('POST', '/api/backup.create', { ...wire, databaseType: 'web-server' })).status).toBe(200)
    expect(await rig.api.listPanelBackups()).toEqual([])
    rig.loseAnswer('backup.create')
    await rig.api.setBackup({ kind: 'panel' }, backup)
    const [made, ...more] = await rig.api.listPanelBackups()
    expect([more.length, made]).toMatchObject([0, backup])
    await rig.api.setBackup({ kind: 'panel' }, { ...backup, id: made?.id ?? '', keep: 4 })
    expect(await rig.api.listPanelBackups()).toMatchObject([{ id: made?.id, keep: 4 }])
  })

  test('a bucket that holds much can be reached with its keys, and not with others', async () => {
    const rig = await openRig()
    rig.control.apps.fillBucket(BUCKET.endpoint, BUCKET.bucket, 20_000)
    const wire = { ...BUCKET, accessKey: 'a', secretAccessKey: 's', additionalFlags: [] }
    expect(await rig.raw('POST', '/api/destination.testConnection', wire)).toMatchObject({
      status: 400,
      json: { message: 'Command execution failed: stdout maxBuffer length exceeded' },
    })
    await rig.api.testBucket(BUCKET)
    const denied = rig.api.testBucket({ ...BUCKET, secretKey: new Secret('s', 'wrong', 'unlisted') })
    expect(await denied.catch((error: unknown) => hasCode(error, 'vendor'))).toBe(true)
  })

  test('a bucket is tried once: what is slow is not made slower by two more lists of it', async () => {
    const rig = await openRig()
    rig.loseAnswer('destination.testConnection')
    const lost = rig.api.testBucket(BUCKET)
    expect(await lost.catch((error: unknown) => hasCode(error, 'network'))).toBe(true)
    expect(rig.calls.filter(call => call.path.endsWith('testConnection'))).toHaveLength(1)
  })

  test('a volume’s backup is answered with 200 whatever came of it', async () => {
    const rig = await openRig()
    const { environmentId } = await withApplication(rig)
    await rig.api.setBucket(BUCKET)
    const bucketId = (await rig.api.listBuckets())[0]?.id ?? ''
    const text = 'services:\n  cache:\n    image: redis:8\nvolumes:\n  data: {}\n  named:\n    name: shared\n'
    const stack = await rig.api.createService({
      kind: 'compose',
      environmentId,
      name: 's',
      description: 'm',
      compose: { type: 'docker-compose', file: new Secret('f', text, 'unlisted') },
    })
    await rig.api.startDeploy(stack, { title: 't', description: '' })
    rig.sleep(1_000)
    const { appName } = await rig.api.readService(stack)
    const common = { bucketId, prefix: 'v', schedule: '0 5 * * *', keep: 2, appName, stop: true }
    const filesOf = async (name: string, folder: string, more: { volume: string; service?: string }) => {
      await rig.api.setVolumeBackup(stack, { ...common, ...more, name })
      const made = (await rig.api.listVolumeBackups(stack)).find(each => each.name === name)
      expect(made).toMatchObject({ ...more, name, stop: true })
      expect(await rig.raw('POST', '/api/volumeBackups.runManually', { volumeBackupId: made?.id })).toEqual({
        status: 200,
        json: undefined,
      })
      const files = await rig.api.listBackupFiles(bucketId, `${folder}/v/${more.volume}`)
      return files.map(({ path }) => rig.control.apps.object(BUCKET.endpoint, BUCKET.bucket, path)?.kind)
    }
    const inFolder = `${appName}_cache`
    expect(await filesOf('no service', appName, { volume: `${appName}_data` })).toEqual([])
    expect(await filesOf('no container', `${appName}_cash`, { volume: `${appName}_data`, service: 'cash' })).toEqual([])
    expect(await filesOf('no volume', inFolder, { volume: 'data', service: 'cache' })).toEqual(['empty volume'])
    expect(await filesOf('good', inFolder, { volume: `${appName}_data`, service: 'cache' })).toEqual(['volume'])
    expect(await filesOf('its own name', inFolder, { volume: 'shared', service: 'cache' })).toEqual(['volume'])
  })

  test('a database without a name in any answer is an error, never another database', async () => {
    const nameless = { environmentId: 'e', name: 'production', isDefault: true, postgres: [{ postgresId: 'p' }] }
    const rig = await openRig({
      intercept: async (call, ask) => {
        if (call.path === '/api/project.all')
          return { status: 200, json: [{ projectId: 'x', name: 'shop', environments: [nameless] }] }
        return call.path === '/api/environment.one' ? { status: 200, json: nameless } : ask()
      },
    })
    const listed = rig.api.listProjects()
    expect(await listed.catch((error: unknown) => hasCode(error, 'network'))).toBe(true)
  })

  test('nothing is unique by name, and the name in Swarm cannot be chosen', async () => {
    const rig = await openRig()
    const { environmentId } = await withApplication(rig)
    const made = await rig.raw('POST', '/api/application.create', { name: 'web', appName: 'web', environmentId })
    expect(made.status).toBe(200)
    expect((made.json as { appName: string }).appName).toMatch(/^web-[a-z0-9]{6}$/)
    expect((await rig.api.listProjects())[0]?.environments[0]?.services.map(each => each.name)).toEqual(['web', 'web'])
  })

  test.each([
    ['application.saveDockerProvider', { applicationId: 'x', dockerImage: 'a' }],
    ['application.saveBuildType', { applicationId: 'x', buildType: 'nixpacks' }],
    ['application.saveEnvironment', { applicationId: 'x', env: 'A=1' }],
    ['application.saveGitProvider', { applicationId: 'x', customGitUrl: 'u', customGitBranch: 'main' }],
    ['notification.createSlack', { name: 'n', webhookUrl: 'https://x', channel: 'c' }],
  ])('%s wants every field', async (procedure, body) => {
    expect((await (await openRig()).raw('POST', `/api/${procedure}`, body)).status).toBe(400)
  })

  test('an update with nothing to set is a 500, an unknown environment a 404, a second production a 400', async () => {
    const rig = await openRig()
    const { ref, projectId } = await withApplication(rig)
    const statuses = [
      await rig.raw('POST', '/api/application.update', { applicationId: ref.id }),
      await rig.raw('POST', '/api/application.create', { name: 'x', environmentId: 'nowhere' }),
      await rig.raw('POST', '/api/environment.create', { name: 'production', projectId }),
    ]
    expect(statuses.map(each => each.status)).toEqual([500, 404, 400])
  })

  test('deploy answers 200 with nothing, and is done although every task fails', async () => {
    const rig = await openRig()
    const { ref } = await withApplication(rig, 'web:1-crash-loop')
    expect(await rig.raw('POST', '/api/application.deploy', { applicationId: ref.id })).toEqual({ status: 200, json: undefined })
    rig.sleep(5_000)
    const service = await rig.api.readService(ref)
    expect([service.status, service.deployments[0]?.status]).toEqual(['done', 'done'])
    const tasks = await rig.api.listTasks(service.appName)
    expect(tasks.filter(task => task.error.includes('non-zero exit (1)')).length).toBeGreaterThanOrEqual(3)
  })

  test('a stack’s task is listed before it has a container, and what Docker does not know is answered with nothing', async () => {
    const rig = await openRig()
    const { environmentId } = await withApplication(rig)
    const file = new Secret('f', 'services:\n  web.api:\n    image: web:1\n', 'unlisted')
    const compose = { type: 'stack', file } as const
    const stack = await rig.api.createService({ kind: 'compose', environmentId, name: 's', description: 'm', compose })
    rig.control.apps.setTiming({ startMs: 10_000 })
    const { id } = await rig.api.startDeploy(stack, { title: 't', description: '' })
    while ((await rig.api.listDeployments(stack)).find(each => each.id === id)?.status === 'running') rig.sleep(50)
    const { appName } = await rig.api.readService(stack)
    const query = `appName=${appName}&appType=stack`
    const listed = async () => (await rig.raw('GET', `/api/docker.getContainersByAppNameMatch?${query}`)).json
    expect(await listed()).toMatchObject([{ containerId: '', state: 'preparing' }])
    expect(await rig.raw('GET', '/api/docker.getConfig?containerId=')).toMatchObject({ status: 400 })
    expect(await rig.raw('GET', '/api/docker.getConfig?containerId=abc')).toEqual({ status: 200, json: undefined })
    const [task] = await rig.api.listStackTasks(appName)
    expect(task).toMatchObject({ service: 'web.api', wanted: 'running', state: expect.stringMatching(/^preparing/) })
    rig.sleep(12_000)
    expect(await listed()).toMatchObject([{ containerId: expect.stringMatching(/^[0-9a-f]{12}$/), state: 'running' }])
    expect(await rig.api.inspectContainer(task?.id ?? '')).toMatchObject({ running: true, service: 'web.api' })
    expect(await rig.api.inspectContainer('abc')).toBeUndefined()
  })

  test('a stack’s file says nothing of pulling', async () => {
    const rig = await openRig()
    const { environmentId } = await withApplication(rig)
    const file = new Secret('f', 'services:\n  web:\n    image: web:1\n    pull_policy: never\n', 'unlisted')
    const compose = { type: 'stack', file } as const
    const stack = await rig.api.createService({ kind: 'compose', environmentId, name: 's', description: 'm', compose })
    const { id } = await rig.api.startDeploy(stack, { title: 't', description: '' })
    rig.sleep(1_000)
    expect(await rig.api.readDeploymentLog(id, 1)).toContain('pull_policy is not allowed')
  })

  test.each([
    ['without a command', {}, 'done', 'set'],
    ['its variables beside another folder', { composePath: 'infra/compose.yml' }, 'done', 'unset'],
    ['a command for another file', { command: 'compose -f infra/compose.yml up -d' }, 'error', 'unset'],
    ['a file of a repository', { composeFile: 'services:\n  web:\n    image: web:1\n    env_file: web.env\n' }, 'error', 'unset'],
  ] as const)('a stack’s own text is alone in its folder: %s', async (_name, columns, status, variable) => {
    const rig = await openRig()
    const { environmentId } = await withApplication(rig)
    const file = new Secret('f', 'services:\n  web:\n    image: web:1\n', 'unlisted')
    const compose = { type: 'docker-compose', file } as const
    const stack = await rig.api.createService({ kind: 'compose', environmentId, name: 's', description: 'm', compose })
    await rig.api.setEnv(stack, [['A', new Secret('A', 'x')]])
    expect((await rig.raw('POST', '/api/compose.update', { composeId: stack.id, env: 'A=x', ...columns })).status).toBe(200)
    const { id } = await rig.api.startDeploy(stack, { title: 't', description: '' })
    rig.sleep(1_000)
    expect((await rig.api.listDeployments(stack)).find(each => each.id === id)?.status).toBe(status)
    const { appName } = await rig.api.readService(stack)
    const [container] = await rig.api.listContainers(appName, 'compose')
    const { json } = await rig.raw('GET', `/api/docker.getConfig?containerId=${container?.id ?? 'none'}`)
    expect(JSON.stringify(json ?? '').includes('"A=x"') ? 'set' : 'unset').toBe(variable)
  })

  test('an application’s route is there at once, a stack’s with its next deploy; one without a service fails the deploy', async () => {
    const rig = await openRig()
    const { ref, environmentId } = await withApplication(rig)
    await rig.api.createDomain(ref, DOMAIN)
    expect(JSON.stringify(rig.control.traefik().dynamic)).toContain('www.example.com')
    const file = new Secret('f', 'services:\n  web:\n    image: web:1\n', 'unlisted')
    const stack = await rig.api.createService({
      kind: 'compose',
      environmentId,
      name: 's',
      description: 'm',
      compose: { type: 'docker-compose', file },
    })
    await rig.api.createDomain(stack, { ...DOMAIN, host: 'stack.example.com', service: 'web' })
    expect(JSON.stringify(rig.control.traefik().dynamic)).not.toContain('stack.example.com')
    await rig.api.startDeploy(stack, { title: 't', description: '' })
    rig.sleep(1_000)
    await rig.api.listProjects()
    expect(JSON.stringify(rig.control.traefik().dynamic)).toContain('stack.example.com')
    await rig.raw('POST', '/api/domain.create', { host: 'x.example.com', composeId: stack.id })
    const failed = await rig.api.startDeploy(stack, { title: 't', description: '' })
    rig.sleep(1_000)
    expect((await rig.api.listDeployments(stack)).find(each => each.id === failed.id)?.status).toBe('error')
  })

  test.each([
    ['a pipe', 'exec -T cache sh -c a|b'],
    ['a semicolon', 'exec -T cache a; b'],
    ['a substitution', 'exec -T cache $(a)'],
  ])('a compose command with %s fails the deploy', async (_name, tail) => {
    const rig = await openRig()
    const { environmentId } = await withApplication(rig)
    const file = new Secret('f', 'services:\n  cache:\n    image: redis:8\n', 'unlisted')
    const stack = await rig.api.createService({
      kind: 'compose',
      environmentId,
      name: 's',
      description: 'm',
      compose: { type: 'docker-compose', file },
    })
    await rig.api.setCompose(stack.id, { command: `${await rig.api.readCommand(stack.id)} && docker compose ${tail}` })
    const started = await rig.api.startDeploy(stack, { title: 't', description: '' })
    rig.sleep(1_000)
    expect((await rig.api.listDeployments(stack)).find(each => each.id === started.id)?.status).toBe('error')
  })

  test('a chained action runs after a deploy that a push started', async () => {
    const rig = await openRig()
    const { environmentId } = await withApplication(rig)
    const file = new Secret('f', 'services:\n  cache:\n    image: redis:8\n', 'unlisted')
    const stack = await rig.api.createService({
      kind: 'compose',
      environmentId,
      name: 's',
      description: 'm',
      compose: { type: 'docker-compose', file },
    })
    const { appName, refreshToken } = await rig.api.readService(stack)
    await rig.api.setCompose(stack.id, {
      command: `${await rig.api.readCommand(stack.id)} && docker compose -p ${appName} exec -T cache redis-cli FLUSHALL`,
    })
    expect(await rig.push(`/api/deploy/compose/${refreshToken.reveal()}`, {})).toBe(200)
    rig.sleep(2_000)
    await rig.api.listProjects()
    expect(rig.control.apps.execs()).toMatchObject([{ service: 'cache', command: 'redis-cli FLUSHALL', by: 'compose_command' }])
  })

  test('the deploy webhook looks at branch and paths, not at signatures', async () => {
    const rig = await openRig()
    const { ref } = await withApplication(rig)
    await rig.api.setSource(ref.id, {
      kind: 'git',
      url: 'https://github.com/acme/shop.git',
      branch: 'main',
      path: '/',
      watch: ['web/**'],
    })
    const token = (await rig.api.readService(ref)).refreshToken.reveal()
    const push = (branch: string, file: string) =>
      rig.push(
        `/api/deploy/${token}`,
        { ref: `refs/heads/${branch}`, commits: [{ modified: [file] }] },
        { 'x-github-event': 'push' },
      )
    expect([
      await push('main', 'web/a.ts'),
      await push('dev', 'web/a.ts'),
      await push('main', 'docs/a.md'),
      await rig.push('/api/deploy/wrong', {}),
    ]).toEqual([200, 301, 301, 404])
    await rig.raw('POST', '/api/application.update', { applicationId: ref.id, autoDeploy: false })
    expect(await push('main', 'web/a.ts')).toBe(400)
  })

  test('ten deployments are kept, and a rollback needs a registry', async () => {
    const rig = await openRig()
    const { ref } = await withApplication(rig)
    for (let n = 0; n < 12; n++) {
      await rig.api.startDeploy(ref, { title: `t${n}`, description: '' })
      rig.sleep(1_000)
    }
    const deployments = await rig.api.listDeployments(ref)
    expect(deployments).toHaveLength(10)
    const { deployments: own } = await rig.api.readService(ref)
    expect([own.length, own[0]?.title, own.at(-1)?.title]).toEqual([10, 't11', 't2'])
    expect(deployments.some(each => each.rollback)).toBe(false)
  })
})

const RUNS = Number(process.env.LANDFALL_RUNS ?? (process.env.CI ? 10_000 : 300))
const key = fc.stringMatching(/^[A-Z_][A-Z0-9_]{0,12}$/)
const text = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.stringMatching(/^[ \t'"`$#=\\nr\n{}a-c]{0,16}$/),
)

test(`${RUNS} random sets of variables go into Dokploy and come back byte for byte, in its answers and inside the container`, async () => {
  const rig = await openRig()
  const { ref } = await withApplication(rig)
  let refused = 0
  await fc.assert(
    fc.asyncProperty(fc.dictionary(key, text, { maxKeys: 6 }), async values => {
      const wanted = { ...values }
      const all = new Set(Object.keys(wanted))
      for (const [name, value] of Object.entries(wanted))
        if (envProblem(name, value, all) !== undefined) {
          refused += 1
          delete wanted[name]
        }
      const env = Object.entries(wanted).map(([name, value]) => envValue(name, value))
      await rig.api.setEnv(ref, env)
      expect(names((await rig.api.readService(ref)).env)).toEqual({ ...wanted })
      await rig.api.startDeploy(ref, { title: 't', description: '' })
      rig.sleep(1_000)
      // A value that refers to another is resolved on its way into the container.
      if (!Object.values(wanted).some(value => value.includes('{{')))
        expect({ ...rig.control.apps.envInside('web') }).toEqual({ ...wanted })
    }),
    { numRuns: RUNS },
  )
  expect(refused).toBeLessThan(RUNS * 3)
}, 600_000)
