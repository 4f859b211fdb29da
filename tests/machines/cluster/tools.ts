/**
 * Real Consul, Nomad and a registry for the tests, built from their Go modules: no package of Debian's has Nomad. The versions of the two are
 * the last that are under the MPL and served by the module proxy. Built once into $LANDFALL_TOOLS_DIR (default /var/tmp/landfall-tools), outside of the
 * checkout; nothing of them is part of Landfall. `bun tests/machines/cluster/tools.ts`; needs Go and a C compiler.
 */

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { env, stdout } from 'node:process'

interface Tool {
  readonly name: 'consul' | 'nomad' | 'registry'
  readonly module: string
  /** Below the module. */
  readonly folder: string
  readonly version: string
  /** Modules that the tool's own go.mod takes from its neighbouring folder, which the proxy has as modules of their own. */
  readonly replace: Readonly<Record<string, string>>
}

export const TOOLS = [
  { name: 'consul', module: 'github.com/hashicorp/consul', folder: '', version: '1.14.0', replace: {} },
  {
    name: 'nomad',
    module: 'github.com/hashicorp/nomad',
    folder: '',
    version: '1.6.1',
    replace: { './api': 'github.com/hashicorp/nomad/api v0.0.0-20230718173136-3a687930bd3e' },
  },
  { name: 'registry', module: 'github.com/distribution/distribution/v3', folder: '/cmd/registry', version: '3.0.0', replace: {} },
] as const satisfies readonly Tool[]

export const toolsDirectory = (): string => env.LANDFALL_TOOLS_DIR ?? '/var/tmp/landfall-tools'

export const run = async (words: readonly string[], cwd: string): Promise<string> => {
  const child = Bun.spawn([...words], {
    cwd,
    env: { ...env, GOFLAGS: '-mod=mod -buildvcs=false -p=2' },
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [out, err, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited])
  if (code !== 0)
    throw new Error(`"${words.slice(0, 3).join(' ')}" ended with ${code}: ${err.trim().split('\n').slice(-5).join(' / ')}`)
  return out
}

/** `go install` refuses a module that replaces others, so it is built as a requirement of a module with the same replacements. */
async function build({ name, module: path, folder, version, replace }: Tool, file: string): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), `landfall-${name}-`))
  try {
    writeFileSync(join(work, 'go.mod'), 'module landfall/tools\n')
    const module = JSON.parse(await run(['go', 'mod', 'download', '-json', `${path}@v${version}`], work)) as { Dir: string }
    let goMod = readFileSync(join(module.Dir, 'go.mod'), 'utf8').replace(/^module .*$/m, 'module landfall/tools')
    for (const [folder, other] of Object.entries(replace)) goMod = goMod.replace(`=> ${folder}`, `=> ${other}`)
    writeFileSync(join(work, 'go.mod'), `${goMod}\nrequire ${path} v${version}\n`)
    writeFileSync(join(work, 'go.sum'), readFileSync(join(module.Dir, 'go.sum')))
    // Older packages reach into the runtime's internals, which newer linkers forbid unless told otherwise.
    await run(['go', 'build', '-trimpath', '-ldflags=-s -w -checklinkname=0', '-o', `${file}.new`, `${path}${folder}`], work)
    renameSync(`${file}.new`, file)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Debian's own Prometheus, without an installation, which would start it here. */
async function unpackPrometheus(file: string): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'landfall-prometheus-'))
  try {
    await run(['apt-get', '-o', 'APT::Sandbox::User=root', 'download', 'prometheus'], work)
    const [archive = ''] = readdirSync(work).filter(name => name.endsWith('.deb'))
    await run(['dpkg', '-x', archive, 'root'], work)
    copyFileSync(join(work, 'root/usr/bin/prometheus'), `${file}.new`)
    renameSync(`${file}.new`, file)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Paths of the programs; makes what is missing. */
export async function findTools(
  say: (line: string) => void = () => undefined,
): Promise<Readonly<Record<Tool['name'] | 'prometheus', string>>> {
  const directory = toolsDirectory()
  mkdirSync(directory, { recursive: true })
  const paths = { consul: '', nomad: '', registry: '', prometheus: join(directory, 'prometheus') }
  if (!existsSync(paths.prometheus)) await unpackPrometheus(paths.prometheus)
  for (const tool of TOOLS) {
    const file = join(directory, `${tool.name}-${tool.version}`)
    if (!existsSync(file)) {
      const startedMs = performance.now()
      say(`building ${tool.name} ${tool.version}, which takes minutes`)
      await build(tool, file)
      say(`built ${tool.name} in ${Math.round((performance.now() - startedMs) / 1000)} s`)
    }
    paths[tool.name] = file
  }
  return paths
}

if (import.meta.main) stdout.write(`${JSON.stringify(await findTools(line => stdout.write(`${line}\n`)))}\n`)
