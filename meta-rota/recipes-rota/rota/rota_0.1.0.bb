require rota.inc
