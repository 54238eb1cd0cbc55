"""Images of every kind, made here."""

import base64
import io
import zlib

from PIL import Image


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 400, height: int = 300) -> Image.Image:
    ramp = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (ramp, ramp.rotate(180), ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))


# Pillow writes no HEIC: 64 × 48 pixels, red on the left and blue on the right, written once by pillow-heif.
HEIC = zlib.decompress(
    base64.b85decode(
        "c-muNV30{GsVvAy%}izhg51nBLl8SRGck>Ufw49>wIq=N0u(b+a*CjAhJwuG5(YG&l$nzcHpIn&fe{FSfN>#&1_BizR?f`KO9S&j"
        "qM|@fDif5KQI>27V)7MamgK^f{LL&VDge@VGYgXQfpi&AnKL6ZNN56Bk=zG{KYxGxU|`^9P5|nVaA4$N{Qn=MfElEM8HD6^F*zgx"
        "CAFLw8PQ}GC^WK8d-Y`5&K(>X1`0qSW)Q)km;_YL=E8We_&_Jn65-_hoT9wsoC=^QF9TZxP)H=RxF8kkGY2TvNX|(tfU-f3H-OS0"
        "!1VwB{|_J<hy@BVD>6ZX%p4pXKuRLBAQu+Mz;I)2WMXD*0kU;+QxZXetf0ZTUb5l6=hFTE??0CR`fdG>WhdhQZ|*C<7%l(qJ9BP6"
        "01fY3?E"
    )
)
