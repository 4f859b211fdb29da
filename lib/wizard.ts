/** The questions of the guided tour: which world, which tokens, which estate. Its answers are a config.json, the same that CI uses. */

import { existsSync } from 'node:fs'
import { checkConfigFolder, readConfigFile } from './config-file.ts'
import { writeFileAtomic } from './engine/files.ts'
import { hasCode } from './errors.ts'
import type { Session } from './script.ts'
import type { Secret } from './secret.ts'
import type { Ask, ParsedArgs } from './ui/types.ts'

/** Where a token is made, and with which rights. */
const TOKENS = {
  hetzner: {
    variable: 'HCLOUD_TOKEN',
    field: 'hcloudToken',
    where: 'console.hetzner.cloud → your project → Security → API tokens → Generate, with Read & Write',
  },
  digitalocean: {
    variable: 'DIGITALOCEAN_TOKEN',
    field: 'digitaloceanToken',
    where: 'cloud.digitalocean.com → API → Tokens → Generate New Token, with full access',
  },
  cloudflare: {
    variable: 'CLOUDFLARE_API_TOKEN',
    field: 'cloudflareToken',
    where:
      'dash.cloudflare.com → My Profile → API Tokens → Create, with Zone → Zone → Read and Zone → DNS → Edit on your one zone',
  },
} as const

/** Asks for what is missing before a tour can begin. Answers with the session to go on with. */
export async function prepareTour(session: Session, tests: TokenTests): Promise<Session> {
  if (!session.interactive) return session
  const rehearsing = await chooseWorld(session)
  const args: ParsedArgs = rehearsing && session.args.sandbox === undefined ? { ...session.args, sandbox: 'kept' } : session.args
  if (!existsSync(args.config)) await writeConfig(session, args.config)
  if (rehearsing) return session.with({ args })
  const environment = { ...session.environment }
  for (const which of await tokensOf(args.config)) {
    const { field } = TOKENS[which]
    if (!environment[field]) Object.assign(environment, { [field]: await askToken(session, which, tests[which]) })
  }
  return session.with({ args, environment })
}

/** The tokens that an estate needs: its cloud's, and Cloudflare's where it has names. @throws LandfallError config */
async function tokensOf(path: string): Promise<readonly (keyof typeof TOKENS)[]> {
  const [{ parseConfig }, { cloudOf }] = await Promise.all([import('./estate/load.ts'), import('./estate/derive.ts')])
  const config = parseConfig(readConfigFile(path), path)
  return [cloudOf(config), ...(config.dns === undefined ? [] : (['cloudflare'] as const))]
}

/** Each resolves when the vendor takes the token. @throws LandfallError token_invalid | forbidden */
export type TokenTests = Readonly<Record<keyof typeof TOKENS, (token: Secret) => Promise<void>>>

async function chooseWorld({ args, ask, environment }: Session): Promise<boolean> {
  if (args.sandbox !== undefined) return true
  // The questions make an estate at Hetzner.
  const [cloud = 'hetzner'] = existsSync(args.config) ? await tokensOf(args.config) : []
  const { variable, field } = TOKENS[cloud]
  if (environment[field]) return false
  const world = await ask.select({
    flag: '--sandbox',
    message: `${variable} is not set. How shall we go on?`,
    choices: [
      {
        value: 'rehearse',
        name: 'Rehearse here',
        about: 'the whole tour against stand-ins on this machine; no account, no money',
      },
      { value: 'real', name: 'Set up for real', about: 'asks for the API tokens' },
    ],
  })
  return world === 'rehearse'
}

/** Tests the token at once; a wrong one is asked for again, with the vendor's reason. */
async function askToken(
  session: Pick<Session, 'ask' | 'reporter'>,
  which: keyof typeof TOKENS,
  test: (token: Secret) => Promise<void>,
): Promise<Secret> {
  const { variable, where } = TOKENS[which]
  session.reporter.log(`${variable}: make one at ${where}.`)
  for (;;) {
    const token = await session.ask.secret({ flag: variable, message: variable, label: variable })
    session.reporter.log(`Testing ${variable} …`)
    try {
      await test(token)
      session.reporter.log(`${variable} works. To keep it for later runs: export ${variable}=…`)
      return token
    } catch (error) {
      // Another token is no help against anything else.
      if (!hasCode(error, 'token_invalid', 'token_readonly', 'forbidden')) throw error
      session.reporter.error(error)
    }
  }
}

const HOST = /^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,}$/

async function writeConfig({ ask, reporter }: Session, path: string): Promise<void> {
  checkConfigFolder(path)
  reporter.log(`There is no ${path} yet; a few questions make one.`)
  const text = await askEstate(ask)
  await writeFileAtomic(path, text, 0o644)
  reporter.log(`Wrote ${path}. It holds no secret: commit it, and CI does the same with the same file.`)
}

/** The text of a config.json. */
export async function askEstate(ask: Ask): Promise<string> {
  const { renderConfig } = await import('./estate/write.ts')
  const domain = await ask.text({
    flag: '--config PATH',
    message: 'Your domain, as Cloudflare holds it',
    validate: value => (HOST.test(value.trim().toLowerCase()) ? undefined : 'A domain like example.com is wanted.'),
  })
  const location = await ask.select({
    flag: '--config PATH',
    message: 'Where shall the servers stand?',
    choices: [
      { value: 'nbg1', name: 'Nuremberg', about: 'nbg1' },
      { value: 'fsn1', name: 'Falkenstein', about: 'fsn1' },
      { value: 'hel1', name: 'Helsinki', about: 'hel1' },
    ],
    default: 'nbg1',
  })
  const shape = await ask.select({
    flag: '--config PATH',
    message: 'Which servers?',
    choices: [
      { value: 'both', name: 'dev and prod', about: 'two servers: cx23 and cx33' },
      { value: 'prod', name: 'prod only', about: 'one server: cx33' },
    ],
    default: 'both',
  })
  const image = await ask.select({
    flag: '--config PATH',
    message: 'From which image?',
    choices: [
      { value: 'debian-12', name: 'stock Debian 12', about: 'Dokploy is installed over SSH, 3 to 6 minutes; nothing to prepare' },
      {
        value: 'golden',
        name: 'golden image',
        about: 'a NixOS snapshot that you have built; servers are ready in about a minute',
      },
    ],
    default: 'debian-12',
  })
  const name = domain.trim().toLowerCase()
  return renderConfig({
    domain: name,
    locations: [location],
    image,
    serverTypes: shape === 'both' ? { dev: 'cx23', prod: 'cx33' } : { prod: 'cx33' },
    ...(image === 'golden' ? { imageBuildType: 'cx23' } : {}),
    adminSubdomains: shape === 'both' ? { prod: 'admin', dev: 'dev.admin' } : { prod: 'admin' },
  })
}
