/** Words for a shell that we cannot avoid: ssh hands a ProxyCommand to one. */

/** Single quotes hold for every POSIX shell; zx's own quoting is bash's, and dash would add a dollar sign. */
export const quoteForSh = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`
