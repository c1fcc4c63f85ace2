"""Made-up infrared photometry: populations, colours, noise, upper limits, and the flags that follow from them.

The shapes are those of the mid-infrared sky (counts rising to the limit, three loci of colour), the figures are round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Letters = NDArray[np.uint8]

STAR, GALAXY, AGN = 0, 1, 2

FIVE_SIGMA_MAG = (17.4, 16.0, 11.6, 8.0)
"""Vega magnitudes of a source at S/N 5 in W1...W4."""
TEN_SIGMA_2MASS_MAG = {"j": 15.8, "h": 15.1, "k": 14.3}
DETECTION_SNR = 2.0
"""Below it a magnitude is the limit two sigma above the measured flux, and has no error."""
_ERROR_FLOOR_MAG = 0.021
_MAG_PER_SNR = 2.5 / np.log(10.0)

_COUNTS_SLOPE = 0.32
"""Logarithmic slope of the source counts per magnitude."""
_COMPLETE_TO_MAG = 17.25

# Mean and scatter of a colour, by population: star, galaxy, AGN.
_COLOURS = {
    "w1-w2": ((-0.03, 0.06), (0.22, 0.14), (1.02, 0.20)),
    "w2-w3": ((0.08, 0.20), (2.90, 0.85), (3.05, 0.45)),
    "w3-w4": ((0.10, 0.25), (2.20, 0.55), (2.45, 0.40)),
    "k-w1": ((0.08, 0.06), (0.75, 0.35), (1.45, 0.40)),
    "j-k": ((0.68, 0.20), (1.25, 0.18), (1.55, 0.30)),
}


@dataclass(frozen=True)
class Band:
    """Measurements in one WISE band, each of shape (n,)."""

    mag: Floats
    """A limit where `error` is NaN."""
    error: Floats
    snr: Floats
    rchi2: Floats


def draw_w1(rng: np.random.Generator, n: int) -> Floats:
    """True W1 magnitudes: counts rise to about 17.25 and fall off where a survey loses sources.

    Parameters
    ----------
    rng : numpy.random.Generator
    n : int

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    grid = np.linspace(4.0, 18.6, 3000)
    density = 10.0 ** (_COUNTS_SLOPE * grid) / (1.0 + np.exp((grid - _COMPLETE_TO_MAG) / 0.15))
    cumulated = np.cumsum(density)
    return np.interp(rng.random(n), cumulated / cumulated[-1], grid)


def draw_populations(rng: np.random.Generator, w1: Floats, crowded: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Kind of each source: stars lead among the bright and in crowded fields, galaxies among the faint."""
    galaxies = 0.02 + 0.55 / (1.0 + np.exp((15.4 - w1) / 0.7))
    agn = 0.01 + 0.05 / (1.0 + np.exp((15.0 - w1) / 0.8))
    dilution = np.where(crowded, 0.08, 1.0)
    chance = rng.random(len(w1))
    kinds = np.full(len(w1), STAR, dtype=np.int8)
    kinds[chance < (galaxies + agn) * dilution] = GALAXY
    kinds[chance < agn * dilution] = AGN
    return kinds


def draw_colour(rng: np.random.Generator, name: str, kinds: NDArray[np.int8]) -> Floats:
    """One colour for each source, on the locus of its population."""
    mean, scatter = np.array(_COLOURS[name]).T
    return mean[kinds] + scatter[kinds] * rng.standard_normal(len(kinds))


def observe(rng: np.random.Generator, true_mag: Floats, five_sigma: float) -> tuple[Floats, Floats, Floats]:
    """Measure magnitudes with noise in flux.

    Parameters
    ----------
    rng : numpy.random.Generator
    true_mag : ndarray of float64, shape (n,)
    five_sigma : float
        Magnitude at which the background alone gives S/N 5.

    Returns
    -------
    mag, error, snr : ndarray of float64, shape (n,)
        The error is NaN, and the magnitude a two-sigma limit, where S/N < 2.
    """
    n = len(true_mag)
    depth = five_sigma + 0.12 * rng.standard_normal(n)
    flux = 10.0 ** (-0.4 * (true_mag - depth))  # in units of five sigma of the background
    sigma = np.hypot(0.2, _ERROR_FLOOR_MAG / _MAG_PER_SNR * flux)
    measured = flux + sigma * rng.standard_normal(n)
    snr = measured / sigma
    detected = snr >= DETECTION_SNR
    shown = np.where(detected, measured, np.maximum(measured, 0.0) + 2.0 * sigma)
    error = np.where(detected, _MAG_PER_SNR / np.where(detected, snr, 1.0), np.nan)
    return depth - 2.5 * np.log10(shown), error, snr


def wise_bands(rng: np.random.Generator, w1: Floats, kinds: NDArray[np.int8]) -> list[Band]:
    """Measure the four bands of WISE.

    Parameters
    ----------
    rng : numpy.random.Generator
    w1 : ndarray of float64, shape (n,)
        True magnitudes.
    kinds : ndarray of int8, shape (n,)

    Returns
    -------
    list of Band
        W1, W2, W3, W4.
    """
    true_mag = w1
    # Bright galaxies are resolved, and a point-source fit to them is poor in every band.
    resolved = (kinds == GALAXY) & (w1 < 13.5) & (rng.random(len(w1)) < 0.6)
    bands = []
    for number, depth in enumerate(FIVE_SIGMA_MAG):
        if number:
            true_mag = true_mag - draw_colour(rng, f"w{number}-w{number + 1}", kinds)
        mag, error, snr = observe(rng, true_mag, depth)
        rchi2 = 0.95 * np.exp(0.10 * rng.standard_normal(len(w1)))
        rchi2 *= np.where(resolved, 1.0 + 6.0 * rng.random(len(w1)), 1.0) + np.clip(snr - 40.0, 0.0, None) * 0.02
        bands.append(Band(np.round(mag, 3), np.round(error, 3), np.round(snr, 1), np.round(rchi2, 3)))
    return bands


def two_mass(rng: np.random.Generator, w1: Floats, kinds: NDArray[np.int8]) -> dict[str, Floats]:
    """2MASS counterparts, of bright sources only.

    Returns
    -------
    dict of str to ndarray of float64, shape (n,)
        ``r_2mass`` in arcseconds and magnitudes with errors; NaN without counterpart, the error NaN for a limit.
    """
    n = len(w1)
    k = w1 + draw_colour(rng, "k-w1", kinds)
    j_k = draw_colour(rng, "j-k", kinds)
    true_mag = {"j": k + j_k, "h": k + 0.25 * j_k, "k": k}
    seen = (true_mag["j"] + 0.3 * rng.standard_normal(n) < 16.6) | (k + 0.3 * rng.standard_normal(n) < 15.2)
    distance = np.minimum(rng.rayleigh(0.12, n) + (rng.random(n) < 0.03) * 2.5 * rng.random(n), 3.0)
    columns = {"r_2mass": np.where(seen, np.round(distance, 3), np.nan)}
    for band, ten_sigma in TEN_SIGMA_2MASS_MAG.items():
        error = np.hypot(_ERROR_FLOOR_MAG, 0.109 * 10.0 ** (0.4 * (true_mag[band] - ten_sigma)))
        limit = error > 0.36
        # A limit is as bright as the depth of the image there, whatever the source is.
        shown = np.where(limit, np.minimum(true_mag[band], ten_sigma + 1.4), true_mag[band])
        measured = shown + np.minimum(error, 0.36) * rng.standard_normal(n)
        columns[f"{band}_m_2mass"] = np.where(seen, np.round(measured, 3), np.nan)
        columns[f"{band}_msig_2mass"] = np.where(seen & ~limit, np.round(error, 3), np.nan)
    return columns


def quality_letters(bands: list[Band]) -> Letters:
    """Photometric quality by S/N: A from 10, B from 3, C from 2, U for a limit; shape (n, 4)."""
    letters = [np.array([ord(x) for x in "UCBA"], dtype=np.uint8)[np.digitize(b.snr, (2.0, 3.0, 10.0))] for b in bands]
    # The limit is decided before S/N is rounded to a tenth, so the error has the last word.
    limits = [np.isnan(band.error) for band in bands]
    columns = [
        np.where(is_limit, ord("U"), np.where(letter == ord("U"), ord("C"), letter))
        for letter, is_limit in zip(letters, limits, strict=True)
    ]
    return np.stack(columns, axis=1).astype(np.uint8)


def confusion_letters(rng: np.random.Generator, crowded: NDArray[np.bool_]) -> Letters:
    """Contamination by artefacts of bright neighbours: mostly clean, oftener flagged where it is crowded."""
    n = len(crowded)
    letters = np.full((n, 4), ord("0"), dtype=np.uint8)
    flagged = rng.random((n, 4)) < np.where(crowded, 0.08, 0.02)[:, None]
    letters[flagged] = rng.choice(np.frombuffer(b"dddpphhoDPHO", dtype=np.uint8), int(flagged.sum()))
    return letters


def variability_letters(rng: np.random.Generator, bands: list[Band]) -> Letters:
    """Probability of variability, 0 to 9, and ``n`` where a band has too little signal to tell."""
    n = len(bands[0].snr)
    variable = rng.random(n) < 0.015
    letters = np.empty((n, 4), dtype=np.uint8)
    for number, band in enumerate(bands):
        digits = np.where(variable, rng.integers(6, 10, n), np.minimum(rng.geometric(0.45, n) - 1, 5))
        letters[:, number] = np.where(band.snr < 7.0, ord("n"), digits + ord("0"))
    return letters


def extension_flags(bands: list[Band], kinds: NDArray[np.int8], w1: Floats) -> NDArray[np.int32]:
    """0 for a point source, 1 where a point-source fit is poor in some band, 5 for a bright galaxy seen as one."""
    poor = np.any([band.rchi2 > 3.0 for band in bands], axis=0)
    return np.where(poor & (kinds == GALAXY) & (w1 < 12.0), 5, np.where(poor, 1, 0)).astype(np.int32)
