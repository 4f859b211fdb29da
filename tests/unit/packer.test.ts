/** The template of the golden image, and the two scripts of a build, run for real with stand-ins for what they call. */

import { afterEach, describe, expect, test } from 'bun:test'
import { spawn } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DEFAULT_DOKPLOY_VERSION } from '../../lib/estate/derive.ts'
import { LABEL_KEYS, labelProblems } from '../../lib/estate/labels.ts'
import { GOLDEN } from '../../lib/steps/image.ts'

const ROOT = new URL('../../', import.meta.url).pathname
const PACKER = join(ROOT, 'packer')
const template = readFileSync(join(PACKER, 'golden.pkr.hcl'), 'utf8')
const plugins = readFileSync(join(PACKER, 'plugins.pkr.hcl'), 'utf8')

const directories: string[] = []
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true })
})
const newDirectory = (): string => {
  const directory = mkdtempSync(join(tmpdir(), 'landfall-packer-'))
  directories.push(directory)
  return directory
}

const run = async (command: readonly string[], environment: Readonly<Record<string, string>>) => {
  const child = Bun.spawn([...command], { env: { ...process.env, ...environment }, stdout: 'pipe', stderr: 'pipe' })
  const [said, wrong, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  return { code, said, wrong }
}

const variable = (name: string): string | undefined =>
  new RegExp(`variable "${name}" \\{[^}]*?default +=\\s+"([^"]*)"`).exec(template)?.[1]

describe('the template', () => {
  test('leaves what an older Packer does not know to a file that holds nothing else', () => {
    const blocks = (text: string) => [...text.matchAll(/^([a-z_]+)[^\n]*\{$/gm)].map(match => match[1])
    expect(blocks(plugins)).toEqual(['packer'])
    expect(template).not.toMatch(/required_plugins|server_labels/)
  })

  test('describes every variable and uses it', () => {
    const variables = [...template.matchAll(/^variable "([a-z_]+)" \{\n {2}description = "[^"]+\."$/gm)].map(match => match[1])
    expect(variables.length).toBe([...template.matchAll(/^variable /gm)].length)
    for (const name of variables) expect(template).toContain(`var.${name}`)
  })

  test('labels the snapshot so that it is found and known for what it is', () => {
    const labels = /labels = merge\(var\.labels, \{\n([^}]*)\}\)/.exec(template)?.[1] ?? ''
    const keys = [...labels.matchAll(/"(landfall\/[a-z]+)" +=/g)].map(match => match[1] ?? '')
    expect(keys.sort()).toEqual(['built', 'content', 'dokploy', 'image', 'nixos', 'revision'].map(key => `landfall/${key}`))
    expect(labelProblems(Object.fromEntries(keys.map(key => [key, 'x'])))).toEqual([])
    expect(labels).toMatch(new RegExp(`"${LABEL_KEYS.image}" += "${GOLDEN}"`))
  })

  test('names the versions that are in the image', () => {
    expect(variable('dokploy_version')).toBe(DEFAULT_DOKPLOY_VERSION)
    expect(readFileSync(join(ROOT, 'flake.nix'), 'utf8')).toContain(`/nixos-${variable('nixos_version')}"`)
  })

  test('starts from a system that kexec works on', () => {
    expect(variable('base_image')).toBe('ubuntu-24.04')
    expect(variable('rescue')).toBe('linux64')
  })

  test.skipIf(!process.env.CI && Bun.which('packer') === null)('is valid for a real Packer (needs packer)', async () => {
    const directory = newDirectory()
    for (const file of ['golden.pkr.hcl', 'install.sh', 'seal.sh']) cpSync(join(PACKER, file), join(directory, file))
    const environment = { HCLOUD_TOKEN: 'x', CHECKPOINT_DISABLE: '1' }
    const all = ['-var', 'labels={"team":"web"}', '-var', 'rescue=', '-var', 'install_command=true', '-var', 'ssh_port=8022']
    expect(await run(['packer', 'validate', directory], environment)).toMatchObject({ code: 0, wrong: '' })
    expect(await run(['packer', 'validate', ...all, directory], environment)).toMatchObject({ code: 0, wrong: '' })
    expect((await run(['packer', 'validate', '-var', 'no_such_variable=1', directory], environment)).code).toBe(1)
  })
})

describe('install.sh', () => {
  const install = (nixosAnywhere: string, environment: Readonly<Record<string, string>> = {}) => {
    const directory = newDirectory()
    const calls = join(directory, 'calls')
    writeFileSync(join(directory, 'nixos-anywhere'), `#!/bin/sh\necho "$*" >>'${calls}'\n${nixosAnywhere}\n`)
    chmodSync(join(directory, 'nixos-anywhere'), 0o755)
    return run(['sh', join(PACKER, 'install.sh')], {
      PATH: `${directory}:${process.env.PATH}`,
      TARGET: '192.0.2.7',
      TARGET_PORT: '22',
      FLAKE: '.#golden',
      ...environment,
    }).then(result => ({ ...result, calls: readFileSync(calls, 'utf8') }))
  }

  test('goes through the phases one by one and never reboots', async () => {
    const { code, calls } = await install('exit 0')
    expect(code).toBe(0)
    const line = (phase: string) => `--flake .#golden --target-host root@192.0.2.7 --ssh-port 22 --phases ${phase}\n`
    expect(calls).toBe(['kexec', 'disko', 'install'].map(line).join(''))
    expect(calls).not.toContain('--copy-host-keys')
  })

  test('stops at a phase that fails and names it', async () => {
    const { code, wrong, calls } = await install('case "$*" in *disko) exit 3 ;; esac')
    expect({ code, wrong }).toEqual({ code: 3, wrong: 'The phase disko on 192.0.2.7 failed with exit code 3.\n' })
    expect(calls).not.toContain('--phases install')
  })

  for (const phase of ['kexec', 'disko', 'install'])
    test(`ends ${phase} when it hangs`, async () => {
      const { code, wrong } = await install(`case "$*" in *${phase}) exec sleep 60 ;; esac`, {
        [`${phase.toUpperCase()}_TIMEOUT_S`]: '0.2',
      })
      expect(code).toBe(124)
      expect(wrong).toBe(`The phase ${phase} on 192.0.2.7 did not end within 0.2 seconds.\n`)
    })
})

describe('install.sh, interrupted', () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    test(`${signal} to its process group ends nixos-anywhere and what that started at once`, async () => {
      const directory = newDirectory()
      const pids = join(directory, 'pids')
      writeFileSync(
        join(directory, 'nixos-anywhere'),
        `#!/bin/sh\nsleep 60 & echo "$$ $!" >'${pids}.new'; mv '${pids}.new' '${pids}'; wait\n`,
        { mode: 0o755 },
      )
      const child = spawn('sh', [join(PACKER, 'install.sh')], {
        env: { PATH: `${directory}:${process.env.PATH}`, TARGET: '192.0.2.7', FLAKE: '.#golden' },
        detached: true,
        stdio: 'ignore',
      })
      const ended = new Promise<number | null>(resolve => child.once('exit', resolve))
      for (let tries = 0; !existsSync(pids) && tries < 400; tries += 1) await Bun.sleep(10)
      const started = readFileSync(pids, 'utf8').trim().split(' ').map(Number)
      process.kill(-(child.pid ?? 0), signal)
      expect(await Promise.race([ended, Bun.sleep(5_000).then(() => 'still there')])).toBe(130)
      const isAlive = (pid: number) => existsSync(`/proc/${pid}`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
      for (let tries = 0; started.some(isAlive) && tries < 100; tries += 1) await Bun.sleep(10)
      expect(started.filter(isAlive)).toEqual([])
    })
})

describe('seal.sh', () => {
  const system = (): string => {
    const root = newDirectory()
    for (const path of ['nix/var/nix/profiles', 'boot/grub', 'etc/ssh', 'var/lib/systemd'])
      mkdirSync(join(root, path), { recursive: true })
    symlinkSync('system-1-link', join(root, 'nix/var/nix/profiles/system'))
    return root
  }
  const seal = (root: string) => run(['sh', join(PACKER, 'seal.sh')], { MOUNT_ROOT: root })

  test('lets a system pass that is whole and was never run, and takes away what an installation leaves', async () => {
    const root = system()
    writeFileSync(join(root, 'etc/machine-id'), '0123456789abcdef0123456789abcdef\n')
    writeFileSync(join(root, 'var/lib/systemd/random-seed'), 'seed')
    expect(await seal(root)).toMatchObject({ code: 0, wrong: '' })
    expect(existsSync(join(root, 'etc/machine-id'))).toBe(false)
    expect(existsSync(join(root, 'var/lib/systemd/random-seed'))).toBe(false)
  })

  test('refuses a disk that nothing was installed on', async () => {
    const root = system()
    rmSync(join(root, 'nix/var/nix/profiles/system'))
    expect((await seal(root)).code).toBe(1)
    const unbootable = system()
    rmSync(join(unbootable, 'boot/grub'), { recursive: true })
    expect((await seal(unbootable)).wrong).toBe(`The image is refused: ${unbootable}/boot is empty.\n`)
  })

  for (const path of [
    'etc/ssh/ssh_host_ed25519_key',
    'var/lib/docker/swarm',
    'var/lib/landfall/secrets',
    'var/lib/landfall/metadata',
    'etc/landfall/dokploy-login',
    'root/.ssh/authorized_keys',
  ])
    test(`refuses a system that holds ${path}`, async () => {
      const root = system()
      mkdirSync(join(root, path), { recursive: true })
      const { code, wrong } = await seal(root)
      expect(code).toBe(1)
      expect(wrong).toContain(`it holds ${root}/${path}, which every server would share.`)
    })
})
